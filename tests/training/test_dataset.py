"""Batches are what was published, in an order that anybody can make again, whatever goes wrong on the way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DataError, LakeError, ProjectError, SettingsError, VersionError
from schemas.ids import digest, sha256
from schemas.training import Data
from tasks.catalog import rebuild
from tasks.deletions import DeletionsError
from tasks.lake import Lake
from tasks.manifests import read_manifest, seal
from tasks.pack import Shard, pack_shard
from tasks.shards import decode_part, read_index, read_samples
from tests.training.conftest import PER_SHARD, PLAIN, Row, make_row, publish
from training.dataset import Batch, Split, State, batches, once, open_split

ROOT = Path(__file__).parents[2]
BEGIN = State()

torch.set_num_threads(1)


def train(lake: Lake) -> Split:
    return open_split(lake.root, "v1", "train")


def taken(
    lake: Lake, count: int, data: Data = PLAIN, state: State = BEGIN, rank: int = 0, world: int = 1
) -> list[Batch]:
    return list(islice(batches(train(lake), data, 0, state, rank, world), count))


def equal(one: Batch, other: Batch) -> bool:
    pictures = all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("input", "target", "mask", "reference")
    )
    return pictures and one.keys == other.keys and one.instructions == other.instructions and one.state == other.state


def joined(parts: Sequence[Batch]) -> tuple[tuple[str, ...], torch.Tensor, torch.Tensor]:
    keys = tuple(key for part in parts for key in part.keys)
    return keys, torch.cat([part.input for part in parts]), torch.cat([part.reference for part in parts])


def shards(lake: Lake) -> list[Path]:
    return sorted((lake.root / "shards").glob("*.tar"))


def spoil(lake: Lake, number: int, part: str = "target.webp") -> str:
    """Change a byte in the middle of a part of a shard's first sample; return its key."""
    path = shards(lake)[number]
    row = read_index(path.with_suffix(".parquet"), len(list(read_samples(path))))[0]
    with path.open("r+b") as file:
        file.seek(row[f"{part}.offset"] + row[f"{part}.size"] // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0xFF]))
    return str(row["key"])


def test_a_batch_is_what_was_published(small: Lake) -> None:
    published = {sample.key: sample.parts for path in shards(small) for sample in read_samples(path)}
    seen = []
    for batch in taken(small, 7):
        assert batch.input.dtype == batch.target.dtype == batch.reference.dtype == torch.uint8
        assert batch.mask.dtype == torch.bool
        for row, key in enumerate(batch.keys):
            parts = {name: decode_part(name, part.data) for name, part in published[key].items()}
            assert batch.instructions[row] == parts["json"]["restore_instruction"]
            if parts["input.webp"].shape[:2] != batch.input.shape[2:]:
                continue  # at the epoch's end: cropped to the aspect of its batch
            seen.append(key)
            for name, picture in (("input.webp", batch.input), ("target.webp", batch.target)):
                assert np.array_equal(picture[row].permute(1, 2, 0).numpy(), parts[name])
            assert np.array_equal(batch.mask[row, 0].numpy(), parts["mask.png"])
            assert abs(batch.reference[row].permute(1, 2, 0).numpy().astype(int) - parts["reference.jpg"]).max() <= 2
    assert len(seen) >= 36


def test_an_epoch_shows_every_sample_once_but_for_less_than_a_batch(small: Lake) -> None:
    epoch = taken(small, 7)
    keys = [key for batch in epoch for key in batch.keys]
    assert len(set(keys)) == len(keys) == 42
    assert epoch[-1].state == State(1, 0)
    following = taken(small, 7, state=State(1, 0))
    assert [batch.keys for batch in following] != [batch.keys for batch in epoch]
    assert len({key for batch in following for key in batch.keys}) == 42


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 16), world=st.sampled_from([1, 2, 3, 6]), workers=st.just(0))
def test_going_on_repeats_and_skips_nothing_at_any_world_size(
    small: Lake, start: int, world: int, workers: int
) -> None:
    data = PLAIN.model_copy(update={"workers": workers, "crop": "focus"})
    before = taken(small, start + 3, data)
    state = before[start - 1].state if start else State()
    ranks = [taken(small, 3, data, state, rank, world) for rank in range(world)]
    for number, whole in enumerate(before[start:]):
        keys, input, reference = joined([rank[number] for rank in ranks])
        assert keys == whole.keys
        assert torch.equal(input, whole.input)
        assert torch.equal(reference, whole.reference)
        assert {rank[number].state for rank in ranks} == {whole.state}


PROCESS = """
import json, sys
from itertools import islice
from schemas.ids import sha256
from schemas.training import Data
from training.dataset import State, batches, open_split
root, data, state, rank, world, count = sys.argv[1:]
split = open_split(root, "v1", "train")
found = batches(split, Data.model_validate_json(data), 0, State(*json.loads(state)), int(rank), int(world))
for batch in islice(found, int(count)):
    pixels = [sha256(picture.numpy().tobytes()) for picture in batch.input]
    print(json.dumps([[*zip(batch.keys, pixels)], [batch.state.epoch, batch.state.batch]]))
"""


Seen = list[list[list[str]]]  # of each batch, of each sample: its key, and the digest of its pixels


def in_processes(lake: Lake, data: Data, state: list[int], world: int, count: int) -> tuple[Seen, list[int]]:
    """Let so many processes take batches from a state on; return the global batches, and the state they end with."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *map(str, (lake.root, data.model_dump_json(), state, rank, world, count))],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    told = [[json.loads(line) for line in process.communicate(timeout=300)[0].splitlines()] for process in running]
    assert all(process.returncode == 0 for process in running)
    (ends,) = {tuple(rank[-1][1]) for rank in told}
    return [[sample for rank in told for sample in rank[number][0]] for number in range(count)], list(ends)


def test_several_processes_go_on_where_others_stopped_in_mid_epoch(small: Lake) -> None:
    data = PLAIN.model_copy(update={"workers": 1, "crop": "focus"})
    alone = taken(small, 9, data)
    first, state = in_processes(small, data, [0, 0], world=2, count=4)
    then, state = in_processes(small, data, state, world=3, count=5)
    assert first + then == [
        [[key, sha256(picture.numpy().tobytes())] for key, picture in zip(batch.keys, batch.input, strict=True)]
        for batch in alone
    ]
    assert state == [1, 2]


def test_workers_and_threads_give_equal_batches(small: Lake) -> None:
    data = PLAIN.model_copy(update={"crop": "focus"})
    in_two = taken(small, 5, data.model_copy(update={"workers": 2, "prefetch": 4}))
    assert all(equal(one, other) for one, other in zip(taken(small, 5, data), in_two, strict=True))


def test_what_is_held_of_batches_stays_as_it_is_and_what_is_not_is_used_again(small: Lake) -> None:
    held = taken(small, 20)
    assert all(equal(batch, again) for batch, again in zip(held, batches(train(small), PLAIN, 0), strict=False))
    del held
    found = batches(train(small), PLAIN, 0)
    places = {next(found).input.data_ptr() for _ in range(20)}
    assert len(places) <= PLAIN.prefetch + 3


def test_once_shows_all_samples(small: Lake) -> None:
    whole = list(once(train(small), PLAIN, 0))
    assert len({key for batch in whole for key in batch.keys}) == sum(len(batch.keys) for batch in whole) == 44
    ranks = [list(once(train(small), PLAIN, 0, rank, 4)) for rank in range(4)]
    assert [joined(parts)[0] for parts in zip(*ranks, strict=True)] == [batch.keys for batch in whole]


def test_focus_crops_differ_from_epoch_to_epoch_and_are_equal_outside_the_mask(small: Lake) -> None:
    data = PLAIN.model_copy(update={"crop": "focus", "size": 192})
    shown: dict[str, list[torch.Tensor]] = {}
    for batch in taken(small, 14, data):
        assert not ((batch.input != batch.target).any(dim=1, keepdim=True) & ~batch.mask).any()
        for row, key in enumerate(batch.keys):
            shown.setdefault(key, []).append(batch.target[row])
    assert any(not torch.equal(*both) for both in shown.values() if len(both) == 2 and both[0].shape == both[1].shape)


def test_what_a_deletion_vector_names_is_not_shown(own: Lake) -> None:
    entries = [Shard(**entry) for entry in read_manifest(own, "v1")["shards"]]
    gone = {entry.sha256: [row["key"] for row in index(own, entry)[:3]] for entry in entries[:4]}
    publish(own, "v2", entries, gone)
    split = open_split(own.root, "v2", "train")
    keys = {key for batch in once(split, PLAIN, 0) for key in batch.keys}
    assert len(keys) == split.samples == 44 - 12
    assert not keys & {key for some in gone.values() for key in some}
    assert split.content != train(own).content
    next((own.root / "deletions").iterdir()).unlink()
    with pytest.raises(DeletionsError, match="missing"):
        open_split(own.root, "v2", "train")


def index(lake: Lake, shard: Shard) -> list[Row]:
    return read_index(lake.shard(shard.sha256).with_suffix(".parquet"), shard.samples)


@pytest.mark.parametrize("part", ["input.webp", "json", "mask.png", "reference.jpg", "target.webp"])
def test_a_damaged_sample_is_replaced_by_the_same_one_everywhere(own: Lake, part: str) -> None:
    sound = taken(own, 7)
    bad = {spoil(own, 0, part), spoil(own, 3, part)}
    mended = taken(own, 7)
    replaced = sum(key in bad for batch in sound for key in batch.keys)
    assert mended[-1].substitutes == replaced > 0
    for before, after in zip(sound, mended, strict=True):
        assert not bad & set(after.keys)
        assert [k for k in before.keys if k not in bad] == [
            b for k, b in zip(before.keys, after.keys, strict=True) if k not in bad
        ]
    halves = [taken(own, 7, PLAIN.model_copy(update={"workers": 2}), State(), rank, 2) for rank in range(2)]
    assert [joined(parts)[0] for parts in zip(*halves, strict=True)] == [batch.keys for batch in mended]


def test_without_digests_what_does_not_decode_is_replaced_too(own: Lake) -> None:
    path = shards(own)[0]
    row = index_rows(path)[0]
    with path.open("r+b") as file:
        file.seek(row["input.webp.offset"])
        file.write(bytes(row["input.webp.size"]))
    keys = {key for batch in once(train(own), PLAIN.model_copy(update={"digests": False}), 0) for key in batch.keys}
    assert row["key"] not in keys


def index_rows(path: Path) -> list[Row]:
    return read_index(path.with_suffix(".parquet"), len(list(read_samples(path))))


def test_past_the_limit_the_run_stops_with_one_line(own: Lake) -> None:
    found = batches(train(own), PLAIN.model_copy(update={"most_damaged": 3}), 0)
    first = next(found)
    assert first.substitutes == 0
    for path in shards(own)[:2]:  # in mid-run
        with path.open("r+b") as file:
            file.truncate(2000)
    with pytest.raises(DataError) as stopped:
        list(islice(found, 20))
    assert "4 samples are damaged, data.most_damaged allows 3" in str(stopped.value)
    assert "omnirefiner verify" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_a_shard_that_is_gone_stops_the_run(own: Lake) -> None:
    for path in shards(own):
        path.unlink()
    with pytest.raises(DataError, match="No such file"):
        next(batches(train(own), PLAIN, 0))


def test_a_worker_that_dies_ends_the_run_with_one_line(small: Lake) -> None:
    found = batches(train(small), PLAIN.model_copy(update={"workers": 1}), 0)
    next(found)
    before = {int(pid) for pid in children()}
    assert len(before) == 1
    os.kill(before.pop(), signal.SIGKILL)
    with pytest.raises(DataError, match=r"ended by itself \(exit code -9\)"):
        list(islice(found, 20))


def children() -> Iterator[str]:
    """Yield the process numbers of this process's children that decode."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"training.decode" in Path(f"/proc/{pid}/cmdline").read_bytes():
                yield pid


def test_workers_end_with_the_iterator(small: Lake) -> None:
    found = batches(train(small), PLAIN.model_copy(update={"workers": 2}), 0)
    next(found)
    assert len(list(children())) == 2
    found.close()  # type: ignore[attr-defined]
    assert not list(children())


def reseal(lake: Lake, **changed: object) -> None:
    path = lake.manifest("v1")
    manifest = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({**manifest, "seal": seal(manifest)}))


def refusal(kind: type[ProjectError], lake: Path, version: str = "v1", group: str = "train") -> str:
    with pytest.raises(kind) as refused:
        open_split(lake, version, group)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_cannot_be_opened_is_told_in_one_line(own: Lake, tmp_path: Path) -> None:
    assert "there are: v1" in refusal(VersionError, own.root, "v9")
    assert "no samples of split group 'validation' (there are: train 44)" in refusal(
        DataError, own.root, group="validation"
    )
    assert "there is none" in refusal(LakeError, tmp_path / "nowhere")
    damaged = shards(own)[0].with_suffix(".parquet")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    assert f"{damaged.name}: its digest is not" in refusal(DataError, own.root)
    damaged.unlink()
    assert "No such file" in refusal(DataError, own.root)
    damaged.write_bytes(whole)
    reseal(own, schema=9)
    assert "it has schema 9" in refusal(VersionError, own.root)


def test_batches_that_cannot_be_made_are_refused_at_once(small: Lake) -> None:
    with pytest.raises(SettingsError, match="6 samples cannot be divided among 4"):
        batches(train(small), PLAIN, 0, world=4)
    with pytest.raises(DataError, match="44 samples of split group 'train' are fewer"):
        batches(train(small), PLAIN.model_copy(update={"batch": 45}), 0)
    with pytest.raises(DataError, match="not looked up yet"):
        batches(train(small), PLAIN.model_copy(update={"reference": "place"}), 0)


def test_a_raw_edit_that_is_not_in_the_lake_is_told(own: Lake) -> None:
    rebuild(own)
    with pytest.raises(DataError, match=r"the raw edit of \w+ is not in the lake"):
        batches(train(own), PLAIN.model_copy(update={"edit": "raw"}), 0)


def test_shards_of_other_split_groups_are_left_alone(own: Lake) -> None:
    entries = [Shard(**entry) for entry in read_manifest(own, "v1")["shards"]]
    others = [make_row(own, 100 + number, "validation") for number in range(PER_SHARD)]
    publish(own, "v2", [pack_shard(own, others, 95), *entries])
    keys = {key for batch in once(open_split(own.root, "v2", "validation"), PLAIN, 0) for key in batch.keys}
    assert keys == {digest("test", 100 + number) for number in range(PER_SHARD)}


def test_jitter_changes_all_pictures_of_a_sample_alike(small: Lake) -> None:
    jitter = PLAIN.model_copy(update={"jitter": True})
    plain, changed, again = taken(small, 3), taken(small, 3, jitter), taken(small, 3, jitter)
    for before, after, same in zip(plain, changed, again, strict=True):
        assert before.keys == after.keys
        assert equal(after, same)
        assert not torch.equal(before.target, after.target)
        outside = ~after.mask.expand_as(after.target)
        assert torch.equal(after.input[outside], after.target[outside])
        assert torch.equal(after.mask.sum(dim=(1, 2, 3)), before.mask.sum(dim=(1, 2, 3)))
        assert (
            after.reference.int() - after.target.int()
        ).abs().float().mean() < 6  # made up to be the same, as a JPEG
    masks = [(before.mask != after.mask).any() for before, after in zip(plain, changed, strict=True)]
    assert any(masks)  # some are mirrored


def test_what_a_worker_keeps_is_what_it_would_read_again(small: Lake) -> None:
    for keep in (1, 64):  # MB: some of the samples, all of them
        kept = taken(small, 20, PLAIN.model_copy(update={"keep": keep, "crop": "focus"}))
        assert all(map(equal, kept, taken(small, 20, PLAIN.model_copy(update={"crop": "focus"}))))
