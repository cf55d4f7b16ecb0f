"""A version's samples as batches to train on: planned from its indexes, decoded in processes, exact to resume.

    split = open_split("lake", "v1", "train")
    for batch in batches(split, settings.data, settings.seed, state, rank, world):
        ...                                    # batch.state goes into the checkpoint

The order of the global batches is a pure function of the version's content, the seed and the epoch; processes only
divide each batch. So a run that goes on from a state, at whatever world size, gets just the batches that are left.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import isnan
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import DataError, ProjectError, SettingsError
from schemas.ids import digest, sha256, stream
from schemas.training import Data
from tasks.deletions import deleted_keys
from tasks.lake import Lake, open_lake
from tasks.ledger import Row
from tasks.manifests import read_manifest
from tasks.pack import INDEX
from tasks.photos import bucket
from training.decode import Order, Piece, Sample, rows_in, slot_bytes
from training.focus import Place
from training.plan import Layout, Plan, planned
from training.raw import raw_edits
from training.stored import Store
from training.workers import Workers

ANNOUNCED = 256  # samples of a rank that the disk is told of at once
TRIES = 16  # at a sound sample in the place of a damaged one


@dataclass(frozen=True)
class State:
    """Where in the order of global batches a run is: the next one."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Batch:
    """A process's slice of a global batch.

    `input`, `target` uint8 [B, 3, H, W], 0..255 RGB; `mask` bool [B, 1, H, W], True where they differ; `reference`
    uint8 [B, 3, h, w]; each (H, W) and (h, w) is one for the global batch. The pictures lie in shared memory with their
    channels last (torch.channels_last), and are no copies: what is held of a batch keeps its memory taken.
    `instructions` lead back to the target. `state` is what a checkpoint keeps: where the run is after this batch.
    `substitutes` counts the damaged samples that this process has replaced so far; `keys` name those that are here.
    """

    keys: tuple[str, ...]
    instructions: tuple[str, ...]
    input: Tensor
    target: Tensor
    mask: Tensor
    reference: Tensor
    state: State
    substitutes: int


@dataclass(frozen=True)
class Split:
    """A version's samples of one split group, as its indexes list them.

    `index` has the columns of a shard's index, without the samples that deletion vectors name, and `shard`, the number
    of the sample's shard among `shards` (their paths within the lake). `places` (N, 11) float32, where they were looked
    up (training.places), say where the references show the regions: left, top, right, bottom, relative, if found, and
    the six numbers of the turn, NaN where it is not known.
    """

    root: str
    version: str
    split_group: str
    content: str
    shards: tuple[str, ...]
    index: pa.Table
    places: NDArray[np.float32] | None = None

    @property
    def samples(self) -> int:
        """Return how many samples there are."""
        return int(self.index.num_rows)


def open_split(root: str | Path, version: str, split_group: str) -> Split:
    """Return what there is of a split group in a version of the lake at a folder or a URL; no sample is read yet.

    Raises VersionError (no such version, retired, of another schema), DeletionsError, and DataError where an index is
    damaged or missing, or the version has no samples of that group.
    """
    store = Store(str(root) if "://" in str(root) else str(Path(root).absolute()))
    with tempfile.TemporaryDirectory(prefix="omnirefiner-") as scratch:
        folder = store.local or _mirrored(store, Path(scratch))
        try:
            lake = open_lake(folder)
            manifest = read_manifest(lake, version)
            entries = [entry for entry in manifest["shards"] if entry["split_group"] == split_group]
            tables = [_live(store, lake, entry, number) for number, entry in enumerate(entries)]
        except ProjectError as error:
            raise type(error)(str(error).replace(str(folder), store.root)) from None
    if not any(table.num_rows for table in tables):
        counts = {entry["split_group"]: 0 for entry in manifest["shards"]}
        for entry in manifest["shards"]:
            counts[entry["split_group"]] += entry["live"]
        there = ", ".join(f"{group} {count}" for group, count in sorted(counts.items())) or "none at all"
        raise DataError(
            f"version '{version}': it has no samples of split group '{split_group}' (there are: {there}); "
            "name another, or publish a version of more products"
        )
    return Split(
        root=store.root,
        version=version,
        split_group=split_group,
        content=digest(manifest["content"], split_group),
        shards=tuple(f"shards/{entry['sha256']}.tar" for entry in entries),
        index=pa.concat_tables(tables).combine_chunks(),
    )


def sample_at(split: Split, number: int) -> Sample:
    """Return where the parts of a sample lie, by its number in the index."""
    row = split.index.slice(number, 1).to_pylist()[0]

    def piece(part: str) -> Piece:
        return Piece(split.shards[row["shard"]], *(row[f"{part}.{what}"] for what in ("offset", "size", "sha256")))

    place = None
    if split.places is not None:
        left, top, right, bottom, found, *turn = split.places[number].tolist()
        place = Place(left, top, right, bottom, bool(found), None if isnan(turn[0]) else tuple(turn))
    return Sample(
        key=row["key"],
        input=piece("input.webp"),
        about=piece("json"),
        mask=piece("mask.png"),
        reference=piece("reference.jpg"),
        target=piece("target.webp"),
        place=place,
    )


def batches(
    split: Split, data: Data, seed: int, state: State = State(), rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Return the batches from a state on, without end: of each global batch the slice of this rank.

    Raises SettingsError and DataError at once where they cannot be made; while they are made, DataError where more than
    `data.most_damaged` samples had to be replaced, or a process that decodes has died.
    """
    if data.batch % world:
        raise SettingsError(
            f"setting data.batch: {data.batch} samples cannot be divided among {world} processes; take a multiple"
        )
    if split.samples < data.batch:
        raise DataError(
            f"version '{split.version}': its {split.samples} samples of split group '{split.split_group}' are fewer "
            f"than one batch (data.batch = {data.batch}); take a smaller one"
        )
    loader = _Loader(split, data, seed)
    return loader.run(loader.endless(state), rank, world)


def once(split: Split, data: Data, seed: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """Return batches of every sample just once, as validation wants them.

    In the order and with the crops of epoch 0; the last batch is smaller, and slices of ranks may be unequal, or empty.
    """
    loader = _Loader(split, data, seed)
    return loader.run(loader.all_once(), rank, world)


@dataclass(frozen=True)
class _Global:
    """A global batch: places in the index (B,), their aspect, the epoch, and the state after it."""

    samples: NDArray[np.int64]
    aspect: int
    epoch: int
    after: State

    def of(self, rank: int, world: int) -> NDArray[np.int64]:
        """Return the slice of a rank."""
        return np.array_split(self.samples, world)[rank]


@dataclass
class _Slice:
    """A rank's part of a global batch while it is filled."""

    of: _Global
    samples: list[int]  # by row; substitutes in the place of damaged ones
    slot: int
    memory: NDArray[np.uint8]
    instructions: dict[int, str]  # by row, of those that are filled


class _Loader:
    """A run over a split: its plan, where its samples lie, and which of them turned out to be damaged."""

    def __init__(self, split: Split, data: Data, seed: int) -> None:
        if data.reference != "whole" and split.places is None:
            raise DataError(
                f"version '{split.version}': where its references show the regions is not looked up yet; do that first "
                "(training.places), or set data.reference to 'whole'"
            )
        self.split, self.data, self.seed, self.store = split, data, seed, Store(split.root)
        self.sizes, aspect = _aspects(split.index, data.size)
        self.layout = Layout(split.content, split.index["shard"].to_numpy(), aspect)
        self.raw = raw_edits(self.store, split.version, split.index) if data.edit == "raw" else None
        self.slices: dict[int, _Slice] = {}  # by their number in this run
        self.damaged: dict[str, str] = {}  # what of each sample
        self.substitutes = 0

    def endless(self, state: State) -> Iterator[_Global]:
        """Yield the global batches from a state on."""
        epoch, first = state.epoch, state.batch
        while True:
            plan = self._plan(epoch)
            count = len(plan.samples)
            for number in range(first, count):
                after = State(epoch, number + 1) if number + 1 < count else State(epoch + 1, 0)
                yield _Global(plan.samples[number], int(plan.aspects[number]), epoch, after)
            epoch, first = epoch + 1, 0

    def all_once(self) -> Iterator[_Global]:
        """Yield the batches of the first epoch, and one of what they leave out."""
        plan = self._plan(0)
        for number, (samples, aspect) in enumerate(zip(plan.samples, plan.aspects, strict=True)):
            yield _Global(samples, int(aspect), 0, State(0, number + 1))
        if len(plan.rest):
            middle = np.sort(self.layout.aspect[plan.rest])[len(plan.rest) // 2]
            yield _Global(plan.rest, int(middle), 0, State(1, 0))

    def run(self, batches: Iterator[_Global], rank: int, world: int) -> Iterator[Batch]:
        """Yield the slices of a rank, as many ahead being filled as the settings say."""
        rows = -(-self.data.batch // world)
        largest = max(slot_bytes(rows, size) for size in self.sizes)
        with Workers(self.store, self.data, self.seed, largest) as workers:
            for number, batch in enumerate(self._announced(batches, rank, world)):
                slot, memory = workers.slot()
                samples = batch.of(rank, world).tolist()
                self.slices[number] = _Slice(batch, samples, slot, memory, {})
                del memory  # or the slot would stay taken
                for row in range(len(samples)):
                    workers.order(self._order(number, row))
                if len(self.slices) > self.data.prefetch:
                    yield self._filled(workers, min(self.slices))
            while self.slices:
                yield self._filled(workers, min(self.slices))

    def _announced(self, batches: Iterator[_Global], rank: int, world: int) -> Iterator[_Global]:
        """Yield the same batches; the disk is told some hundred samples of the rank at a time, from front to back."""
        count = max(1, min(self.data.window, ANNOUNCED) * world // self.data.batch)
        starts, ends = (
            self.split.index["input.webp.offset"].to_numpy(),
            self.split.index["target.webp.offset"].to_numpy(),
        )
        shards = self.layout.shard

        def announce(rows: NDArray[np.int64]) -> None:
            for row in rows.tolist():
                self.store.announce(self.split.shards[shards[row]], int(starts[row]), int(ends[row] - starts[row]))

        with ThreadPoolExecutor(1) as disk:
            while ahead := list(islice(batches, count)):
                disk.submit(announce, np.sort(np.concatenate([batch.of(rank, world) for batch in ahead])))
                yield from ahead

    def _plan(self, epoch: int) -> Plan:
        return planned(self.layout, self.data.batch, self.data.window, self.seed, epoch)

    def _filled(self, workers: Workers, number: int) -> Batch:
        """Wait until a slice is filled, and return it."""
        waited = self.slices[number]
        while len(waited.instructions) < len(waited.samples):
            for done in workers.done():
                if done.damage is None:
                    self.slices[done.batch].instructions[done.row] = done.instruction
                else:
                    self._replace(done.batch, done.row, done.damage)
                    workers.order(self._order(done.batch, done.row))
        del self.slices[number]
        rows = rows_in(waited.memory, len(waited.samples), self.sizes[waited.of.aspect])
        return Batch(
            keys=tuple(self._key(sample) for sample in waited.samples),
            instructions=tuple(text for _, text in sorted(waited.instructions.items())),
            input=torch.from_numpy(rows.input).permute(0, 3, 1, 2),
            target=torch.from_numpy(rows.target).permute(0, 3, 1, 2),
            mask=torch.from_numpy(rows.mask)[:, None],
            reference=torch.from_numpy(rows.reference).permute(0, 3, 1, 2),
            state=waited.of.after,
            substitutes=self.substitutes,
        )

    def _replace(self, number: int, row: int, damage: str) -> None:
        """Put a sound sample of the same aspect in the place of a damaged one: chance is the damaged one's own.

        Raises DataError where more samples are damaged than the settings allow.
        """
        slice = self.slices[number]
        damaged = slice.samples[row]
        self.damaged[self._key(damaged)] = damage
        self.substitutes += 1
        alike = np.flatnonzero(self.layout.aspect == self.layout.aspect[damaged])
        random = stream(self.seed, "substitute", slice.of.epoch, self._key(damaged))
        drawn = [int(sample) for sample in random.choice(alike, size=TRIES)]
        sound = [sample for sample in drawn if self._key(sample) not in self.damaged]
        if len(self.damaged) > self.data.most_damaged or not sound:
            raise DataError(
                f"version '{self.split.version}': {len(self.damaged)} samples are damaged, data.most_damaged allows "
                f"{self.data.most_damaged}; the last: {damage}; restore what `omnirefiner verify` names, and resume"
            )
        slice.samples[row] = sound[0]

    def _order(self, number: int, row: int) -> Order:
        slice = self.slices[number]
        batch = slice.of
        size = self.sizes[batch.aspect]
        return Order(number, row, slice.slot, len(slice.samples), size, batch.epoch, self._sample(slice.samples[row]))

    def _sample(self, row: int) -> Sample:
        sample = sample_at(self.split, row)
        if self.raw is not None:
            sample = replace(sample, input=self.raw[sample.key])
        return replace(sample, place=None) if self.data.reference == "whole" else sample

    def _key(self, place: int) -> str:
        return str(self.split.index["key"][place].as_py())


def _aspects(index: pa.Table, size: int) -> tuple[list[tuple[int, int]], NDArray[np.int32]]:
    """Return the crops' sizes (width, height), in the order of aspects, and the number of each sample's (N,)."""
    sides = np.column_stack([index["width"].to_numpy(), index["height"].to_numpy()])
    distinct, which = np.unique(sides, axis=0, return_inverse=True)
    wanted = [bucket(int(width), int(height), size) for width, height in distinct]
    sizes = sorted(set(wanted), key=lambda side: side[0] / side[1])
    number = np.array([sizes.index(side) for side in wanted], np.int32)
    return sizes, number[which.reshape(-1)]


def _live(store: Store, lake: Lake, entry: Row, number: int) -> pa.Table:
    """Return the index of a shard without what its deletion vector names, and with its number."""
    path = lake.shard(entry["sha256"]).with_suffix(".parquet")
    name = path.relative_to(lake.root)
    try:
        data = store.whole(str(name))
        if sha256(data) != entry["index_sha256"]:
            raise ValueError("its digest is not the one in the manifest")
        table = pq.read_table(pa.BufferReader(data))
        if not table.schema.equals(INDEX):
            raise ValueError("its columns are not those of an index")
    except (OSError, ValueError, pa.ArrowException) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"lake {lake.root}: {name}: {what}; restore it") from None
    if store.local is None:
        _mirror_deletions(store, lake, entry)
    deleted = deleted_keys(lake, entry)
    if deleted:
        table = table.filter(pa.array([key not in deleted for key in table["key"].to_pylist()]))
    return table.append_column("shard", pa.array(np.full(table.num_rows, number, np.int32)))


def _mirrored(store: Store, folder: Path) -> Path:
    """Copy what says of the versions behind a URL what they hold: manifests, which are small. Raises DataError."""
    try:
        (folder / "lake.json").write_bytes(store.whole("lake.json"))
        for name in ("versions", "versions/retired"):
            (folder / name).mkdir()
            for file in store.names(name):
                (folder / name / file).write_bytes(store.whole(f"{name}/{file}"))
    except OSError as error:
        what = " ".join(str(error).split())[:200]
        raise DataError(f"lake {store.root}: it cannot be read ({what}); is the URL right?") from None
    return folder


def _mirror_deletions(store: Store, lake: Lake, entry: Row) -> None:
    if entry["deleted_sha256"]:
        path = lake.deletions(entry["deleted_sha256"])
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # which is told by who reads it
            path.write_bytes(store.whole(str(path.relative_to(lake.root))))
