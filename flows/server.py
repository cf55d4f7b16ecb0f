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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from schemas.errors import PrefectError

ROOT = Path(__file__).parents[1]
LONGEST_START = 90  # seconds
LONGEST_END = 3  # seconds that open connections are waited for

# It records flow and task runs, for whoever looks at them later, and leaves out what nobody asks of a server that ends
# with its command: the feed of events, and triggers on them. Runs are recorded a hundred at a time, or else Prefect
# spends seven times as long on each.
THRIFTY = {
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
}


@contextmanager
def prefect() -> Iterator[None]:
    """Have a Prefect server at hand, before the flows are imported."""
    print("Starting Prefect", file=sys.stderr)
    try:
        with server():
            yield
    except (httpx.HTTPError, RuntimeError) as error:  # what engines raise stays within their stage
        if isinstance(error, RuntimeError) and "API" not in str(error):
            raise
        raise PrefectError(
            f"prefect: its server does not answer ({str(error).rstrip('.')}); check PREFECT_API_URL and PREFECT_HOME, "
            "or unset them for the embedded server, then run the same command again: nothing is lost"
        ) from error


@contextmanager
def server() -> Iterator[None]:
    """Have flows talk to the server that Prefect is set up with, or else to one that is started here."""
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        yield
        return
    with talking_to(start()):
        yield


@contextmanager
def talking_to(url: str) -> Iterator[None]:
    """Have flows talk to a server of ours, without heartbeats.

    Nobody watches it for flows that have crashed, and each flow would wait up to a second for their thread to end.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def start() -> str:
    """Start a server on a free port of the loopback and return its API's URL. It ends when this process does.

    Raises PrefectError where it does not come up.
    """
    os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
    with tempfile.TemporaryFile("w+") as said:
        with socket.socket() as listener:
            # its connections inherit it: uvicorn takes the descriptor for a Unix socket, so asyncio does not set it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(listener.fileno())],
                cwd=ROOT,  # where the module lies, and no folder of photos with a module of that name
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[listener.fileno()],
                env={**THRIFTY, **os.environ},
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
    """Serve Prefect's API on a listening socket until standard input ends, then write down what is not yet recorded."""
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        create_app(ephemeral=True), fd=listener, log_level="error", lifespan="on", timeout_graceful_shutdown=LONGEST_END
    )
    server = uvicorn.Server(config)

    def end_with_parent() -> None:
        sys.stdin.buffer.read()  # which ends when the last process that holds the other end is gone
        server.should_exit = True
        time.sleep(2 * LONGEST_END)
        os._exit(1)  # it was still starting, or does not come to its end

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run()
    os._exit(0)  # all is written: taking Prefect's modules apart would take another two seconds


if __name__ == "__main__":
    serve(int(sys.argv[1]))
