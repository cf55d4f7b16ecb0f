"""Manifests on disk: one JSON file a version, which seals itself with a digest."""

import json
from collections.abc import Iterator
from typing import Any

from schemas.errors import VersionError
from schemas.ids import digest
from tasks.lake import Lake

SCHEMA = 1

Manifest = dict[str, Any]


def names(lake: Lake) -> list[str]:
    """Return the names of all published versions."""
    return sorted(path.stem for path in (lake.root / "versions").glob("[!.]*.json"))


def read_manifest(lake: Lake, name: str) -> Manifest:
    """Return a version's manifest. Raises VersionError where there is none, or it is not as it was published."""
    path = lake.manifest(name)
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(names(lake)) or "none"
        raise VersionError(f"version '{name}': not in the lake (there are: {known}); publish it first") from None
    except (OSError, ValueError) as error:
        raise VersionError(f"version '{name}': its manifest cannot be read ({error}); restore {path.name}") from None
    if not isinstance(manifest, dict) or manifest.get("name") != name or manifest.get("schema") != SCHEMA:
        raise VersionError(f"version '{name}': its manifest is damaged or of another schema; restore {path.name}")
    if manifest.get("seal") != seal(manifest):
        raise VersionError(f"version '{name}': its manifest was edited since it was published; restore {path.name}")
    return manifest


def manifests(lake: Lake) -> list[Manifest]:
    """Return the manifests of all versions, oldest first. Raises VersionError where one is damaged."""
    return sorted((read_manifest(lake, name) for name in names(lake)), key=lambda manifest: int(manifest["sequence"]))


def sound_manifests(lake: Lake) -> Iterator[Manifest]:
    """Yield the manifests that are as they were published; `verify` names the others."""
    for name in names(lake):
        try:
            yield read_manifest(lake, name)
        except VersionError:
            continue


def seal(manifest: Manifest) -> str:
    """Return the digest of all that a manifest says."""
    return digest({key: value for key, value in manifest.items() if key != "seal"})
