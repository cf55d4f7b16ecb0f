"""Stand-in servers for tests: settings that start one, and whether its processes live."""

import socket
from pathlib import Path
from typing import Any

from schemas.settings import Serve, Vlm
from tasks.serving import models
from tests.tasks.stand_in_server import write_stand_in


def free_port() -> int:
    """Return a port of the loopback that nobody listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def stand_in(folder: Path, model: str = "tiny", port: int = 0, **more: Any) -> Vlm:
    """Return settings whose server is the stand-in."""
    url = f"http://127.0.0.1:{port or free_port()}/v1"
    serve = Serve(python=write_stand_in(folder), gpus=0, context=8192).model_copy(update=more)
    return Vlm(model=model, endpoints=(url,), serve=serve)


def processes(vlm: Vlm) -> list[int]:
    """Return the processes of a stand-in that serves."""
    return [int(process) for process in models(vlm, vlm.endpoints[0])[vlm.model]["processes"]]


def alive(process: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody has asked about does not."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
