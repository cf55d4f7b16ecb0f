"""The lake on disk: whole files, written once and never changed. Put-if-absent is the only primitive."""

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import LakeBusy, LakeError
from schemas.ids import sha256

SCHEMA = 1
README = "A lake of the OmniRefiner data project. Written by `omnirefiner build`; look with `omnirefiner status`.\n"
DISK_TROUBLE = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO)
PUT_TRIES = 5  # at a file that other processes' clearing takes away
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # said by disks that know no hard links


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

    def deletions(self, digest: str) -> Path:
        """Return where a deletion vector lies: the keys of a shard's samples that are not a version's."""
        return self.root / "deletions" / f"{digest}.parquet"

    def manifest(self, version: str) -> Path:
        """Return where the manifest of a version lies."""
        return self.root / "versions" / f"{version}.json"

    def retirement(self, version: str) -> Path:
        """Return where it says that a version is retired, if it is."""
        return self.root / "versions" / "retired" / f"{version}.json"

    @property
    def requests(self) -> Path:
        """Return where the servers' replies lie: a database, since thousands a second may come."""
        return self.root / "requests.sqlite"

    @property
    def snapshot(self) -> Path:
        """Return where the catalogue's snapshot lies."""
        return self.root / "catalog.duckdb"

    @property
    def unneeded(self) -> Path:
        """Return where it says what nothing needs, and since when."""
        return self.root / "unneeded.json"

    @property
    def unfinished(self) -> Path:
        """Return the folder of files that are still being written; the next writer clears what a dead one left."""
        return self.root / ".tmp"

    def temporary(self) -> Path:
        """Return an unused name for a file that is to be written and then given its place."""
        with told(self):
            _make_folder(self.unfinished)
        return self.unfinished / f"{os.getpid()}-{secrets.token_hex(8)}"

    def put_artifact(self, data: bytes, extension: str) -> str:
        """Store `data` under its digest and return the digest."""
        digest = sha256(data)
        put(self, self.artifact(digest, extension), data)
        return digest


@contextmanager
def told(lake: Lake) -> Iterator[None]:
    """Turn the disk's troubles (full, read-only, gone) into a LakeError that says what to do."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        raise LakeError(
            f"lake {lake.root}: {what}; mend that and run the same command again, nothing is lost"
        ) from error


def open_lake(root: Path) -> Lake:
    """Return the lake at `root`. Raises LakeError where there is none, or one of a newer schema."""
    marker = root / "lake.json"
    try:
        schema = json.loads(marker.read_bytes())["schema"]
    except FileNotFoundError:
        raise LakeError(f"lake {root}: there is none; make one with `omnirefiner build PHOTOS --lake {root}`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(f"lake {root}: {marker.name} cannot be read ({error}); is this the right folder?") from None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise LakeError(f"lake {root}: it has schema {schema}, this code knows {SCHEMA}; update the project")
    return Lake(root.resolve())


def create_lake(root: Path) -> Lake:
    """Return the lake at `root`, made where there is none. Raises LakeError where another thing is in the way."""
    lake, marker = Lake(root), root / "lake.json"
    if not marker.exists():
        with told(lake):
            occupied = root.exists() and any(path != lake.unfinished for path in root.iterdir())
        if occupied and not marker.exists():  # it may: another build made the lake at the same moment
            raise LakeError(f"lake {root}: the folder holds other things; choose an empty or a new one")
        try:
            put(lake, marker, (json.dumps({"schema": SCHEMA, "about": README.strip()}) + "\n").encode())
        except LakeError:
            if not marker.exists():  # it may, as above
                raise
    return open_lake(root)


@contextmanager
def writing(lake: Lake) -> Iterator[None]:
    """Hold the lake's only writer's place, and clear what a dead writer left unfinished.

    The kernel frees the place when a process dies, however it dies. Raises LakeBusy where another process holds it.
    """
    with told(lake):
        file = (lake.root / ".writer").open("a+")
    with file:
        try:
            with told(lake):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except LakeError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise  # the disk knows no locks, for one
            file.seek(0)
            raise LakeBusy(f"lake {lake.root}: process {file.read().strip() or '?'} is writing to it") from None
        with told(lake):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        shutil.rmtree(lake.unfinished, ignore_errors=True)
        yield


def put(lake: Lake, path: Path, data: bytes) -> bool:
    """Write a whole file durably where there is none, and say whether there was none. Never overwrites.

    Safe beside the lake's writer: one that starts clears whatever is unfinished, and then it is written again.
    """
    tries_left = PUT_TRIES
    while not path.exists():
        temporary = lake.temporary()
        try:
            with told(lake), temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            return put_file(lake, path, temporary)
        except LakeError as error:
            tries_left -= 1
            if not tries_left or not isinstance(error.__cause__, FileNotFoundError):
                raise
        finally:
            with suppress(OSError):
                temporary.unlink()
    return False


def put_file(lake: Lake, path: Path, temporary: Path) -> bool:
    """Give a finished, synced file its name where that is free, and say whether it was. `temporary` may remain."""
    with told(lake):
        _make_folder(path.parent)
        try:
            os.link(temporary, path)  # fails where the name is taken, unlike rename
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if path.exists():
                return False
            temporary.replace(path)  # the lake has one writer, and equal names mean equal bytes
        _sync_folder(path.parent)
        return True


def swap(lake: Lake, path: Path, replacement: Path) -> None:
    """Put a finished file in the place of `path`, at once for every reader."""
    with told(lake):
        with replacement.open("rb") as file:
            os.fsync(file.fileno())
        replacement.replace(path)
        _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durably entered in the one above."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
