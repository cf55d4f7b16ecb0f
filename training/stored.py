"""Bytes of a lake that training reads, on a local disk or behind an object store's URL (s3://bucket/lake)."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from schemas.errors import DataError

KEPT_OPEN = 256  # shards, the least recently read closed first


@dataclass(frozen=True)
class Store:
    """A lake's files by their paths within it. Cheap to make and to send to a worker.

    A URL may carry options as Arrow takes them: s3://bucket/lake?endpoint_override=host:port&scheme=http.
    """

    root: str

    @property
    def local(self) -> Path | None:
        """Return the folder of a lake on a local disk."""
        return None if "://" in self.root else Path(self.root)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import pyarrow as pa
        from pyarrow.fs import FileSystem

        try:
            system, path = FileSystem.from_uri(self.root)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"lake {self.root}: its URL is not understood ({_line(error)}); mend it") from None
        return system, path

    @cached_property
    def _opened(self) -> Any:
        return lru_cache(maxsize=KEPT_OPEN)(self._open)

    def _open(self, name: str) -> Any:
        if self.local is not None:
            return (self.local / name).open("rb", buffering=0)
        system, path = self._remote
        return system.open_input_file(f"{path}/{name}")

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return `size` bytes of a file, fewer where it ends before. Safe among threads. Raises OSError."""
        file = self._opened(name)
        if self.local is not None:
            return os.pread(file.fileno(), size, offset)
        return bytes(file.read_at(size, offset))

    def announce(self, name: str, offset: int, size: int) -> None:
        """Tell the system that a part of a file on a local disk is read soon: it then reads it beforehand."""
        if self.local is not None and hasattr(os, "posix_fadvise"):  # macOS has none, and reads when it is asked
            with suppress(OSError):  # a file that is missing is told by who reads it
                os.posix_fadvise(self._opened(name).fileno(), offset, size, os.POSIX_FADV_WILLNEED)

    def whole(self, name: str) -> bytes:
        """Return all of a small file. Raises OSError."""
        if self.local is not None:
            return (self.local / name).read_bytes()
        system, path = self._remote
        with system.open_input_stream(f"{path}/{name}") as file:
            return bytes(file.read())

    def names(self, folder: str) -> Sequence[str]:
        """Return the names of the files in a folder, sorted; none where there is no such folder. Raises OSError."""
        if self.local is not None:
            place = self.local / folder
            return sorted(path.name for path in place.iterdir() if path.is_file()) if place.is_dir() else []
        from pyarrow.fs import FileSelector, FileType

        system, path = self._remote
        found = system.get_file_info(FileSelector(f"{path}/{folder}", allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == FileType.File)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
