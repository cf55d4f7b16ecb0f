"""The processes that decode, and the memory that they share with the one that trains: a pixel is written once.

Orders and answers go through pipes, and are small; the rows are filled in place. A slot is free again when nobody holds
a tensor of it any more, and there are as many as that takes.
"""

import atexit
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.training import Data
from training.decode import Done, Order, work
from training.stored import Store

ROOT = Path(__file__).parents[1]  # where the workers' module lies
SHARED = Path("/dev/shm")  # files that are memory, where the system has it


class Workers:
    """Workers that fill rows, as a context. With `data.workers` 0 it is a thread of this process, which is as exact."""

    def __init__(self, store: Store, data: Data, seed: int, slot_bytes: int) -> None:
        self._slot_bytes = slot_bytes
        self._files: list[IO[bytes]] = []  # of the slots; they have no name, and end with the last process
        self._memory: list[mmap.mmap] = []
        self._free: deque[int] = deque()
        self._turn = 0
        self._connections: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        atexit.register(self.close)  # a thread that decodes while the interpreter ends would abort it
        for _ in range(max(1, data.workers)):
            ours, theirs = Pipe()
            self._connections.append(ours)
            if data.workers:
                self._processes.append(_start(theirs))
                theirs.close()
                ours.send((store, data, seed))
            else:
                self._threads.append(threading.Thread(target=work, args=(theirs, store, data, seed), daemon=True))
                self._threads[-1].start()

    def slot(self) -> tuple[int, NDArray[np.uint8]]:
        """Return a free slot's number and its bytes: it is taken as long as they, or views of them, are held.

        Raises DataError where there is no memory for one more.
        """
        if not self._free:
            self._free.append(self._new_slot())
        number = self._free.popleft()
        memory = np.frombuffer(self._memory[number], np.uint8)
        weakref.finalize(memory, self._free.append, number).atexit = False
        return number, memory

    def order(self, order: Order) -> None:
        """Have a row filled, by the workers in turn. Raises DataError where that worker has died."""
        self._turn = (self._turn + 1) % len(self._connections)
        try:
            self._connections[self._turn].send(order)
        except OSError:
            raise self._death(self._turn) from None

    def done(self) -> Sequence[Done]:
        """Wait for rows and return them. Raises DataError where a worker has died."""
        told: list[Done] = []
        for ready in wait(self._connections):
            assert isinstance(ready, Connection)
            try:
                told.append(ready.recv())
            except (EOFError, OSError):
                raise self._death(self._connections.index(ready)) from None
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, in the middle of what they do. What is held of batches stays as it is."""
        atexit.unregister(self.close)
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()
        for file in self._files:
            file.close()

    def _new_slot(self) -> int:
        folder = SHARED if SHARED.is_dir() else None
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 held as long as the workers
        try:
            if hasattr(os, "posix_fallocate"):  # or writing would end in a bus error where there is no room
                os.posix_fallocate(file.fileno(), 0, self._slot_bytes)
            else:
                file.truncate(self._slot_bytes)
            self._memory.append(mmap.mmap(file.fileno(), self._slot_bytes))
        except OSError as error:
            file.close()
            raise DataError(
                f"shared memory in {folder or tempfile.gettempdir()}: no room for {self._slot_bytes / 1e6:.0f} MB more "
                f"({error.strerror}); give the container more (docker: --shm-size), or lower data.batch or prefetch"
            ) from None
        self._files.append(file)
        number = len(self._memory) - 1
        for connection in self._connections:
            connection.send((number, self._slot_bytes))
            send_handle(connection, file.fileno(), None)
        return number

    def _death(self, number: int) -> DataError:
        code: int | str = "unknown"
        if self._processes:
            with suppress(subprocess.TimeoutExpired):
                code = self._processes[number].wait(timeout=10)
        return DataError(
            f"a process that decodes has ended by itself (exit code {code}), perhaps for want of memory: lower "
            "data.workers, data.prefetch or data.batch, and resume"
        )


def _start(connection: Connection) -> subprocess.Popen[bytes]:
    """Start a process that knows nothing of this one's modules: what a spawned one would import first is much."""
    return subprocess.Popen(
        [sys.executable, "-c", "from training.decode import main; main()", str(connection.fileno())],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=[connection.fileno()],
    )
