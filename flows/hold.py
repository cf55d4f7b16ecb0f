"""The lake's one writer's place, refused or waited for, by setting."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from schemas.errors import LakeBusy
from tasks.lake import Lake, writing

LOOK_EVERY = 0.5  # seconds


@contextmanager
def hold(lake: Lake, wait: float) -> Iterator[None]:
    """Hold the lake's writer's place; where another process has it, wait up to `wait` seconds. Raises LakeBusy."""
    patience = time.monotonic() + wait
    waiting = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(writing(lake))
                break
            except LakeBusy as busy:
                if time.monotonic() >= patience:
                    hint = "let it end, or let this one wait: --set run.wait_for_lake=SECONDS"
                    raise LakeBusy(f"{busy}; {hint}") from None
                if not waiting:
                    Console(stderr=True).print(f"{busy}; waiting for it", markup=False, highlight=False)
                    waiting = True
                time.sleep(LOOK_EVERY)
        yield
