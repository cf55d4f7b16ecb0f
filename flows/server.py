"""Prefect's server, embedded: it begins with a command and ends with it, however that ends.

Prefect can start one itself. That one shares the terminal's signals, so that Ctrl-C ends it before the flow has said
its last word to it, and it outlives a command that was killed.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from schemas.errors import PrefectError

LONGEST_START = 90  # seconds


@contextmanager
def server() -> Iterator[None]:
    """Have flows talk to the server that Prefect is set up with, or else to one that is started here."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    with temporary_settings({PREFECT_API_URL: start()}):
        yield


def start() -> str:
    """Start a server on a free port of the loopback and return its API's URL. It ends when this process does.

    Raises PrefectError where it does not come up.
    """
    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
    with tempfile.TemporaryFile("w+") as said:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        # not at the end of the flow: Prefect sends its last events when the interpreter ends, and before this
        atexit.register(process.communicate)
        try:
            httpx.get(f"{url}/health", timeout=LONGEST_START).raise_for_status()
        except httpx.HTTPError as error:
            said.seek(0)
            last = next(reversed(said.read().strip().splitlines()), str(error))
            raise PrefectError(
                f"prefect: its embedded server does not start ({last}); check PREFECT_HOME, or set PREFECT_API_URL"
            ) from None
    return url


def serve(listener: int) -> None:
    """Serve Prefect's API on a listening socket until standard input ends."""
    import uvicorn
    from prefect.server.api.server import create_app

    threading.Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.run(create_app(ephemeral=True), fd=listener, log_level="error", lifespan="on")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # which ends when the last process that holds the other end is gone
    os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
