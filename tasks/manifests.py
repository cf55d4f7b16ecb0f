"""Manifests on disk: one JSON file a version, which seals itself with a digest."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # before Python 3.12 pydantic takes no other

from schemas.errors import VersionError
from schemas.ids import digest
from tasks.lake import Lake
from tasks.ledger import Row

SCHEMA = 2

LARGEST = 2**28  # bytes of a manifest; one of a million shards has less

Manifest = dict[str, Any]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class ShardEntry(TypedDict):
    """What a manifest says of a shard."""

    sha256: Sha256
    index_sha256: Sha256
    samples: Count
    live: Count  # samples that are the version's
    bytes: Count
    split_group: str
    jpeg_quality: Count
    deleted_sha256: Sha256 | None  # of the deletion vector that names the others (tasks.deletions)


class ManifestFields(TypedDict):
    """What a manifest says, at least."""

    schema: int
    name: str
    kind: Literal["training", "benchmark"]
    sequence: Count
    parent: str | None
    content: str
    samples: Count  # live ones
    bytes: Count
    shards: list[ShardEntry]
    preferences: list[ShardEntry]  # a second set of shards (tasks.preferences)
    counts: dict[str, dict[str, Count]]
    licences: dict[str, dict[str, Count]]  # of targets and of references
    filters: dict[str, Any] | None  # the filter set in force
    run_id: str
    settings: dict[str, Any]
    fingerprints: dict[str, str]
    models: list[dict[str, Any]]  # with their licences
    prompts: dict[str, str] | None  # digests by job; null where the code has changed since they were asked
    code: str
    published_at: str
    seal: str


FIELDS = TypeAdapter(ManifestFields)


def names(lake: Lake) -> list[str]:
    """Return the names of all published versions that are not retired."""
    return [name for name in all_names(lake) if not lake.retirement(name).exists()]


def all_names(lake: Lake) -> list[str]:
    """Return the names of all versions that were ever published."""
    return sorted(path.stem for path in (lake.root / "versions").glob("[!.]*.json"))


def read_manifest(lake: Lake, name: str) -> Manifest:
    """Return a version's manifest.

    Raises VersionError where there is none, it is not as it was published, or the version is retired.
    """
    if lake.retirement(name).exists():
        raise VersionError(f"version '{name}': it is retired, and what it held may be gone; take another")
    return read_any_manifest(lake, name)


def read_any_manifest(lake: Lake, name: str) -> Manifest:
    """Return a version's manifest, also that of a retired one. Raises VersionError as `read_manifest` does."""
    path = lake.manifest(name)
    try:
        with path.open("rb") as file:
            manifest = json.loads(file.read(LARGEST))
        if isinstance(manifest, dict) and manifest.get("schema") not in (SCHEMA, None):
            raise VersionError(f"version '{name}': it has schema {manifest['schema']!r}, this code knows {SCHEMA}")
        FIELDS.validate_python(manifest, strict=True)
        json.dumps(manifest, ensure_ascii=False).encode()  # fails on halves of characters, which no table takes
        sealed = seal(manifest)
    except FileNotFoundError:
        known = ", ".join(names(lake)) or "none"
        raise VersionError(f"version '{name}': not in the lake (there are: {known}); publish it first") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise VersionError(
            f"version '{name}': its manifest is damaged ({where}: {first['msg']}); restore {path.name}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise VersionError(f"version '{name}': its manifest cannot be read ({error}); restore {path.name}") from None
    if manifest["name"] != name:
        raise VersionError(f"version '{name}': its manifest is that of '{manifest['name']}'; restore {path.name}")
    if manifest["seal"] != sealed:
        raise VersionError(f"version '{name}': its manifest was edited since it was published; restore {path.name}")
    return dict(manifest)


def manifests(lake: Lake) -> list[Manifest]:
    """Return the manifests of all versions, oldest first. Raises VersionError where one is damaged."""
    return sorted((read_manifest(lake, name) for name in names(lake)), key=lambda manifest: manifest["sequence"])


def all_manifests(lake: Lake) -> list[Manifest]:
    """Return the manifests of all versions that were ever published. Raises VersionError where one is damaged."""
    return [read_any_manifest(lake, name) for name in all_names(lake)]


def sound_manifests(lake: Lake) -> Iterator[Manifest]:
    """Yield the manifests that are as they were published; `verify` names the others."""
    for name in names(lake):
        with suppress(VersionError):
            yield read_manifest(lake, name)


def sound_benchmarks(lake: Lake) -> Iterator[Manifest]:
    """Yield the manifests of benchmark versions, retired ones too: nothing of them may ever leak into training."""
    for name in all_names(lake):
        with suppress(VersionError):
            if (manifest := read_any_manifest(lake, name))["kind"] == "benchmark":
                yield manifest


def content_of(shards: Iterable[Row]) -> str:
    """Return the digest of what a version holds: its shards, each with what is deleted from it."""
    return digest(*sorted([shard["sha256"], shard["deleted_sha256"] or ""] for shard in shards))


def seal(manifest: Manifest) -> str:
    """Return the digest of all that a manifest says."""
    return digest({key: value for key, value in manifest.items() if key != "seal"})
