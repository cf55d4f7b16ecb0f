"""The lake on disk: whole files, written once and never changed. Put-if-absent is the only primitive."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import LakeError
from schemas.ids import sha256

SCHEMA = 1
README = "A lake of the OmniRefiner data project. Written by `omnirefiner build`; look with `omnirefiner status`.\n"


@dataclass(frozen=True)
class Lake:
    """A lake by its root folder. Cheap to make and to send to a worker."""

    root: Path

    def artifact(self, digest: str, extension: str) -> Path:
        """Return where an artifact lies: a bucketed photo, a raw or pasted edit, a mask."""
        return self.root / "artifacts" / digest[:2] / f"{digest}.{extension}"

    def image(self, digest: str, extension: str) -> Path:
        """Return where a source's own bytes lie."""
        return self.root / "images" / digest[:2] / f"{digest}.{extension}"

    def shard(self, digest: str) -> Path:
        """Return where a shard lies; its index lies beside it, with the suffix .parquet."""
        return self.root / "shards" / f"{digest}.tar"

    def manifest(self, version: str) -> Path:
        """Return where the manifest of a version lies."""
        return self.root / "versions" / f"{version}.json"

    @property
    def snapshot(self) -> Path:
        """Return where the catalogue's snapshot lies."""
        return self.root / "catalog.duckdb"

    def put_artifact(self, data: bytes, extension: str) -> str:
        """Store `data` under its digest and return the digest."""
        digest = sha256(data)
        put(self.artifact(digest, extension), data)
        return digest


def open_lake(root: Path) -> Lake:
    """Return the lake at `root`. Raises LakeError where there is none, or one of a newer schema."""
    marker = root / "lake.json"
    try:
        schema = json.loads(marker.read_bytes())["schema"]
    except FileNotFoundError:
        raise LakeError(f"lake {root}: there is none; make one with `omnirefiner build PHOTOS --lake {root}`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(f"lake {root}: {marker.name} cannot be read ({error}); is this the right folder?") from None
    if schema > SCHEMA:
        raise LakeError(f"lake {root}: it has schema {schema}, this code knows {SCHEMA}; update the project")
    return Lake(root.resolve())


def create_lake(root: Path) -> Lake:
    """Return the lake at `root`, made where there is none. Raises LakeError where another thing is in the way."""
    marker = root / "lake.json"
    try:
        if not marker.exists():
            if root.exists() and any(not path.name.startswith(".tmp-") for path in root.iterdir()):
                raise LakeError(f"lake {root}: the folder holds other things; choose an empty or a new one")
            put(marker, (json.dumps({"schema": SCHEMA, "about": README.strip()}) + "\n").encode())
    except OSError as error:
        raise LakeError(f"lake {root}: cannot be written ({error.strerror}); check the path and its rights") from None
    return open_lake(root)


@contextmanager
def writing(lake: Lake) -> Iterator[None]:
    """Hold the lake's only writer's place. The kernel frees it when a process dies, however it dies."""
    try:
        file = (lake.root / ".writer").open("a+")
    except OSError as error:
        raise LakeError(f"lake {lake.root}: cannot be written ({error.strerror}); check its rights") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LakeError(
                f"lake {lake.root}: process {file.read().strip() or '?'} is writing to it; wait for it to end"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def put(path: Path, data: bytes) -> bool:
    """Write a whole file durably where there is none, and say whether there was none. Never overwrites."""
    if path.exists():
        return False
    return put_file(path, write_beside(path, data))


def put_file(path: Path, temporary: Path) -> bool:
    """Give a finished, synced file in the same folder its name where that is free, and say whether it was."""
    try:
        os.link(temporary, path)  # fails where the name is taken, unlike rename
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync_folder(path.parent)
    return True


def swap(path: Path, replacement: Path) -> None:
    """Put a finished file in the place of `path`, at once for every reader."""
    _sync_file(replacement)
    replacement.replace(path)
    _sync_folder(path.parent)


def write_beside(path: Path, data: bytes) -> Path:
    """Write `data`, synced, under a temporary name in the folder of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of `path`, so that it can be renamed there."""
    return path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(6)}-{path.name[-40:]}")


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
