"""Stages side by side: each takes up what the one before it has made so far, so that all their servers work at once."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
from typing import Any, Protocol

from prefect.task_runners import TaskRunner

from flows.progress import Bar, bars
from flows.runtime import Context, task_runner
from schemas.ledger import STAGES
from tasks import catalog
from tasks.ledger import Row
from tasks.plan import open_items
from tasks.summary import Step

ASK_EVERY = 1.0  # seconds between two questions of a stage for what it can take up, or longer:
ASKING_SHARE = 0.05  # of a stage's time that may go into asking
SHOWN_EVERY = 60.0  # seconds between two snapshots of the catalogue


class Carry(Protocol):
    """Carries a stage's items through, as they come."""

    def __call__(self, runner: TaskRunner[Any], stage: str, batches: Iterator[Sequence[Row]], bar: Bar) -> Step: ...


class Ended(Exception):
    """Another stage has stopped: this one takes up nothing more."""


def overlap(context: Context, stages: Sequence[str], carry: Carry) -> list[Step]:
    """Run stages at once, each with workers of its own; return what they did, in their order.

    The first that raises ends the others, once what they have in flight is written; it is raised then.
    """
    ended = {stage: Event() for stage in stages}
    stop = Event()

    def one(stage: str, before: Event, bar: Bar) -> Step:
        try:
            with task_runner(context.settings) as runner:
                return carry(runner, stage, as_they_come(context, stage, before, stop), bar)
        except BaseException:
            stop.set()
            raise
        finally:
            ended[stage].set()

    nothing_before = Event()
    nothing_before.set()
    with bars() as bar, ThreadPoolExecutor(len(stages)) as threads:
        running: list[Future[Step]] = []
        for stage, before in zip(stages, [nothing_before, *ended.values()], strict=False):
            # Prefect knows by its context which run a thread works for
            running.append(threads.submit(copy_context().run, one, stage, before, bar))
        try:
            _watch(context, running)
        except BaseException:  # an interruption
            stop.set()
            raise
    raised = [error for future in running if (error := future.exception()) is not None]
    for error in raised:
        if not isinstance(error, Ended):
            raise error
    return [future.result() for future in running]


def as_they_come(context: Context, stage: str, before: Event, stop: Event) -> Iterator[list[Row]]:
    """Yield a stage's open items, then those that the stage `before` has made since, until that has ended.

    Yields an empty list where it is too early to ask again. Raises Ended once `stop` is set.
    """
    taken: set[str] = set()
    ask_at = 0.0
    with catalog.plan(context.lake, context.fingerprints, context.settings) as plan:
        while True:
            if stop.is_set():
                raise Ended
            last = before.is_set()  # looked at first: what is made while we ask is found next time
            if not last and time.monotonic() < ask_at:
                yield []
                continue
            start = time.monotonic()
            for made in STAGES[: STAGES.index(stage)]:
                catalog.refresh(plan, context.lake, made)
            items = [item for item in open_items(plan, stage) if item["item_id"] not in taken]
            taken.update(item["item_id"] for item in items)
            now = time.monotonic()
            ask_at = now + max(ASK_EVERY, (now - start) / ASKING_SHARE)
            yield items
            if last:
                return


def _watch(context: Context, running: Sequence[Future[Step]]) -> None:
    """Wait for all stages; now and then renew the snapshot, so that questions see what was done."""
    pending = set(running)
    while pending:
        _, pending = wait(pending, timeout=SHOWN_EVERY, return_when=FIRST_COMPLETED)
        if pending and catalog.age(context.lake) > SHOWN_EVERY:
            catalog.rebuild(context.lake)
