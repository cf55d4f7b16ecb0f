"""How the items of a stage are carried through Prefect: in chunks of a few seconds' work, several in flight."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from flows.progress import Advance, Bar
from schemas.errors import ArtifactError, ProjectError, StageStopped
from schemas.ledger import OWN
from schemas.records import EngineFailure
from schemas.settings import Settings
from tasks import ledger
from tasks.block import block, embed
from tasks.catalog import plan, rows
from tasks.dedup import dedup, resemble
from tasks.edit import edit
from tasks.engines.chat import Usage
from tasks.engines.load import one_thread_each
from tasks.ingest import ingest
from tasks.instruct import instruct
from tasks.judge import judge
from tasks.lake import DISK_TROUBLE, Lake
from tasks.ledger import Row, not_answered
from tasks.pair import pair
from tasks.restore import restore
from tasks.score import score
from tasks.summary import Step

FIRST_CHUNK = 2  # items, until it is known how long one takes
LARGEST_CHUNK = 64  # items, whose pictures a stage may hold all at once
LOOK_EVERY = 0.2  # seconds between looks at what the stage before has made, where stages overlap
TELL_EVERY = 5.0  # seconds between calls that tell Prefect's server how far a stage is


@dataclass(frozen=True)
class Context:
    """What every stage of a run needs to know."""

    lake: Lake
    settings: Settings
    run_id: str
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Tally:
    """What became of items: counts, not items. `seconds` are of work, over all workers.

    `failed_last` is how many items failed at the end without a success between.
    """

    items: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    failed_last: int = 0
    seconds: float = 0.0
    last_failure: str = ""
    usage: Usage = field(default_factory=Usage)

    def plus(self, other: "Tally") -> "Tally":
        """Return the tally of both, `other` being the later."""
        return Tally(
            items=self.items + other.items,
            answered=self.answered + other.answered,
            refused=self.refused + other.refused,
            failed=self.failed + other.failed,
            failed_last=other.failed_last + (self.failed_last if other.failed_last == other.items else 0),
            seconds=self.seconds + other.seconds,
            last_failure=other.last_failure or self.last_failure,
            usage=self.usage.plus(other.usage),
        )


def task_runner(settings: Settings) -> TaskRunner[Any]:
    """Return the runner that carries the chunks."""
    return ThreadPoolTaskRunner(max_workers=settings.run.workers)


def work_through(
    context: Context,
    runner: TaskRunner[Any],
    stage: str,
    batches: Iterator[Sequence[Row]],
    bar: Bar,
    *,
    at_once: bool = False,
) -> Tally:
    """Carry the open items of a stage through its engine, in chunks or all at once; return what became of them.

    `batches` yields them as they come to be known, an empty one where there are none yet.

    Raises StageStopped when too many items fail in a row; those are kept for the next run.
    """
    total, known = Tally(), 0
    limit = context.settings.run.failures_in_a_row
    artifact: Any = None
    advance: Advance | None = None
    told = time.monotonic()

    def counted() -> Iterator[Sequence[Row]]:
        nonlocal known, advance
        for batch in batches:
            known += len(batch)
            if batch:
                advance = advance or bar(stage, known)
                advance(0, total=known)
            yield batch

    for tally in _in_chunks(context, runner, stage, counted(), at_once=at_once):
        total = total.plus(tally)
        assert advance is not None
        advance(tally.items, _note(total))
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            artifact = artifact or create_progress_artifact(progress=0.0, key=f"{stage}-progress")
            update_progress_artifact(artifact, progress=100 * total.items / known)
        if total.failed_last >= limit:
            raise StageStopped(
                f"stage {stage}: stopped after {total.failed_last} failures in a row, the last: "
                f"{total.last_failure}; mend the engine and run the same command again, nothing is lost"
            )
    return total


def _in_chunks(
    context: Context, runner: TaskRunner[Any], stage: str, batches: Iterator[Sequence[Row]], *, at_once: bool
) -> Iterator[Tally]:
    """Send chunks to the workers and yield their tallies in order; each chunk is as long as the last ones suggest."""
    workers, wanted = context.settings.run.workers, context.settings.run.chunk_seconds
    in_flight: deque[PrefectFuture[Tally]] = deque()
    waiting: deque[Row] = deque()
    length = FIRST_CHUNK
    first = more = True
    try:
        while more or waiting or in_flight:
            batch = next(batches, None)
            more = batch is not None
            waiting.extend(batch or ())
            while waiting and len(in_flight) < 2 * workers:
                # where few are left the chunks shrink, to an eighth, so that no worker is left alone with the last one
                shares = -(-len(waiting) // (2 * workers))
                cut = length if first else max(1, length // 8, min(length, shares))
                first = False
                chunk = [waiting.popleft() for _ in range(len(waiting) if at_once else min(cut, len(waiting)))]
                # quoted, or Prefect searches every item for futures
                parameters = {"context": context, "stage": stage, "items": quote(chunk)}
                in_flight.append(runner.submit(answer_chunk, parameters))
            if in_flight:
                try:
                    tally = in_flight[0].result(timeout=LOOK_EVERY if more else None)
                except TimeoutError:
                    continue
                in_flight.popleft()
                length = max(1, min(round(wanted * tally.items / max(1e-3, tally.seconds)), 4 * length, LARGEST_CHUNK))
                yield tally
            elif more:
                time.sleep(LOOK_EVERY)
    finally:
        for future in in_flight:  # stopped in the middle: what is in flight still writes its rows
            future.wait()


@task(
    name="answer",
    task_run_name="{stage} {items[0][item_id]:.8}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def answer_chunk(context: Context, stage: str, items: list[Row]) -> Tally:
    """Answer a chunk of items and write their rows as one file of the ledger."""
    one_thread_each()
    start = time.perf_counter()
    found = _each(stage, answers(context, stage), items)
    seconds = time.perf_counter() - start
    ledger.append(context.lake, stage, context.run_id, context.fingerprints[stage], found, seconds)
    return tally_of(found, seconds)


def _each(stage: str, answers: Callable[[list[Row]], Iterator[Row]], items: list[Row]) -> list[Row]:
    """Answer a chunk; where that breaks, answer its items one by one, so that only the one that breaks it fails."""
    try:
        return list(answers(items))
    except Exception as error:
        of_an_item = isinstance(error, ArtifactError) or not isinstance(error, ProjectError)
        if not of_an_item or (isinstance(error, OSError) and error.errno in DISK_TROUBLE):
            raise  # it is not the item's fault, and the next would fare no better
        if len(items) > 1:
            return [row for item in items for row in _each(stage, answers, [item])]
        said = str(error) if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"
        (item,) = items
        own = {name: item[name] for name, _ in OWN[stage] if name in item}
        return [not_answered(item["item_id"], EngineFailure(said), **own)]


def answers(context: Context, stage: str) -> Callable[[list[Row]], Iterator[Row]]:
    """Return what answers a stage's items, one row or more each."""
    lake, settings = context.lake, context.settings
    match stage:
        case "ingest":
            return lambda items: ingest(lake, settings, items)
        case "embed":
            return lambda items: embed(lake, items)
        case "resemble":
            everyone = "SELECT image_id, hashes, vector FROM known JOIN embeddings USING (image_id)"
            return lambda items: resemble([i["item_id"] for i in items], _asked(context, everyone), settings.dedup)
        case "dedup":
            return lambda items: dedup(lake, items)
        case "block":
            kept = "SELECT image_id, product, split_group, vector FROM keepers JOIN embeddings USING (image_id)"
            return lambda items: block([i["item_id"] for i in items], _asked(context, kept), settings.pair)
        case "pair":
            return lambda items: pair(lake, settings, items)
        case "instruct":
            return lambda items: instruct(lake, settings, items)
        case "edit":
            return lambda items: edit(lake, settings, items)
        case "restore":
            return lambda items: restore(lake, settings, items)
        case "judge":
            return lambda items: judge(lake, settings, items)
        case "score":
            return lambda items: score(lake, settings, items)
        case _:
            raise ValueError(f"no stage {stage!r}")


def _asked(context: Context, sql: str) -> list[Row]:
    with plan(context.lake, context.fingerprints, context.settings) as connection:
        return rows(connection, sql)


def tally_of(found: Sequence[Row], seconds: float) -> Tally:
    """Count a chunk's rows; an item with several rows counts once."""
    statuses = {row["item_id"]: row for row in found}
    failed_last = 0
    for row in reversed(statuses.values()):
        if row["status"] != "failed":
            break
        failed_last += 1
    counts = Counter(row["status"] for row in statuses.values())
    return Tally(
        items=len(statuses),
        answered=counts["answered"],
        refused=counts["refused"],
        failed=counts["failed"],
        failed_last=failed_last,
        seconds=seconds,
        last_failure=next((row["detail"] for row in reversed(found) if row["status"] == "failed"), ""),
        usage=Usage(**{name: sum(row.get(name) or 0 for row in found) for name in Usage.__dataclass_fields__}),
    )


def step_of(stage: str, tally: Tally, seconds: float) -> Step:
    """Return what a run did in a stage, `seconds` by the clock."""
    return Step(
        stage=stage,
        items=tally.items,
        answered=tally.answered,
        refused=tally.refused,
        failed=tally.failed,
        seconds=seconds,
        work_seconds=tally.seconds,
        **asdict(tally.usage),
    )


def _note(total: Tally) -> str:
    words = [f"{total.refused} refused" if total.refused else "", f"{total.failed} failed" if total.failed else ""]
    return ", ".join(filter(None, words))
