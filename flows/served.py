"""Servers stage by stage: what a stage asks runs while it is asked, and leaves the GPU to what comes next."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from flows.progress import waiting
from schemas.settings import Settings
from tasks.engines.load import unload
from tasks.serving import command, needed, serving


@contextmanager
def servers_on_demand(settings: Settings, logs: Path) -> Iterator[Callable[[str], None]]:
    """Give the block a function to call before a stage that has work: the stage's server then runs, and no other.

    A server goes on running until a stage needs another, or the GPU for itself, or until the block ends. Where
    `run.serve` is off, servers are somebody else's matter. Raises what `serving` raises.
    """
    running = ExitStack()
    now: list[str] = []
    process: Popen[bytes] | None = None

    def prepare(stage: str) -> None:
        nonlocal now, process
        if not settings.run.serve:
            return
        servers = needed(settings, stage)
        wanted = command(servers) if servers else []
        paints_here = stage == "edit" and settings.edit.engine == "diffusers"
        lives = process is None or process.poll() is None
        if (wanted == now and lives) or not (servers or paints_here):
            return
        running.close()
        now = []
        if servers:
            unload()  # a pipeline of this process would keep its memory
            process = running.enter_context(
                serving(servers, logs / f"{stage}.log", waiting(f"server of {servers.model}"))
            )
            now = wanted

    with running:
        yield prepare
