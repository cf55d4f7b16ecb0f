import io
import json
import os
import resource
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from schemas.errors import LakeError
from schemas.ids import digest, sha256, stream
from tasks.codecs import decode, decode_mask, encode_jpeg, encode_mask, encode_webp, load_photo
from tasks.lake import Lake, create_lake
from tasks.pack import PARTS, Part, Sample, pack_shard, sample_json, write_shard
from tasks.verify import verify_shard

Row = dict[str, Any]


def quadruplet(lake: Lake, number: int) -> Row:
    """Store the pictures of a made-up quadruplet and return its row."""
    target = stream(0, number).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    mask = np.zeros((64, 96), bool)
    mask[10:30, 20:50] = True
    edited = np.where(mask[..., None], 255 - target, target)
    target_sha256 = lake.put_artifact(encode_webp(target), "webp")
    return {
        "quadruplet_id": digest("test", number),
        "split_group": "train",
        "width": 96,
        "height": 64,
        "task": "ref-fix",
        "category": "text",
        "instruction": json.dumps({"region": [[0.2, 0.2], [0.5, 0.2], [0.5, 0.5]]}),
        "edit_instruction": "garble the word",
        "restore_instruction": "make the word true to the reference",
        "target_id": digest("target", number),
        "reference_id": digest("reference", number),
        "target_licence": "CC0",
        "reference_licence": None,
        "input_sha256": lake.put_artifact(encode_webp(edited), "webp"),
        "mask_sha256": lake.put_artifact(encode_mask(mask), "png"),
        "reference_sha256": target_sha256,
        "target_sha256": target_sha256,
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


@pytest.fixture
def rows(lake: Lake) -> list[Row]:
    return [quadruplet(lake, number) for number in range(5)]


def test_the_same_rows_give_the_same_shard_in_another_lake(lake: Lake, rows: list[Row], tmp_path: Path) -> None:
    other = create_lake(tmp_path / "other")
    assert pack_shard(lake, rows, 95) == pack_shard(other, [quadruplet(other, number) for number in range(5)], 95)


def test_a_shard_is_named_by_its_digest_and_leaves_nothing_else(lake: Lake, rows: list[Row]) -> None:
    shard = pack_shard(lake, rows, 95)
    assert sha256(lake.shard(shard.sha256).read_bytes()) == shard.sha256
    names = {path.name for path in (lake.root / "shards").iterdir()}
    assert names == {f"{shard.sha256}.tar", f"{shard.sha256}.parquet"}


def test_the_index_says_where_every_part_lies(lake: Lake, rows: list[Row]) -> None:
    shard = pack_shard(lake, rows, 95)
    data = lake.shard(shard.sha256).read_bytes()
    index = pq.read_table(lake.shard(shard.sha256).with_suffix(".parquet")).to_pylist()
    assert [entry["key"] for entry in index] == [row["quadruplet_id"] for row in rows]
    for entry, row in zip(index, rows, strict=True):
        parts = {p: data[entry[f"{p}.offset"] : entry[f"{p}.offset"] + entry[f"{p}.size"]] for p in PARTS}
        assert all(sha256(parts[part]) == entry[f"{part}.sha256"] for part in PARTS)
        assert sha256(parts["target.webp"]) == row["target_sha256"]
        assert json.loads(parts["json"])["key"] == row["quadruplet_id"]


def test_the_bytes_are_those_of_tarfile(lake: Lake, rows: list[Row]) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            parts = (
                lake.artifact(row["input_sha256"], "webp").read_bytes(),
                sample_json(row),
                lake.artifact(row["mask_sha256"], "png").read_bytes(),
                encode_jpeg(load_photo(lake, row["reference_sha256"]), 95),
                lake.artifact(row["target_sha256"], "webp").read_bytes(),
            )
            for name, data in zip(PARTS, parts, strict=True):
                member = tarfile.TarInfo(f"{row['quadruplet_id']}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        end = tar.offset + 2 * tarfile.BLOCKSIZE  # tarfile then fills up to a tape's record, which no disk needs
    assert lake.shard(pack_shard(lake, rows, 95).sha256).read_bytes() == plain.getvalue()[:end]


def test_python_reads_the_tar(lake: Lake, rows: list[Row]) -> None:
    with tarfile.open(lake.shard(pack_shard(lake, rows, 95).sha256)) as tar:
        assert tar.getnames() == [f"{row['quadruplet_id']}.{part}" for row in rows for part in PARTS]


def test_webdataset_reads_the_samples(lake: Lake, rows: list[Row]) -> None:
    path = lake.shard(pack_shard(lake, rows, 95).sha256)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [row["quadruplet_id"] for row in rows]
    input, target = decode(samples[0]["input.webp"]), decode(samples[0]["target.webp"])
    mask = decode_mask(samples[0]["mask.png"])
    assert np.array_equal(input[~mask], target[~mask])
    assert not np.array_equal(input[mask], target[mask])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["input", "mask", "reference", "target"])
@pytest.mark.parametrize(("harm", "said"), [(flip, "damaged"), (cut, "damaged"), (Path.unlink, "missing")])
def test_an_artifact_that_is_lost_stops_the_packing_by_its_name(
    lake: Lake, rows: list[Row], name: str, harm: Callable[[Path], None], said: str
) -> None:
    rows[3]["reference_sha256"] = lake.put_artifact(encode_webp(np.full((64, 96, 3), 7, np.uint8)), "webp")
    path = lake.artifact(rows[3][f"{name}_sha256"], "png" if name == "mask" else "webp")
    good = path.read_bytes()
    harm(path)
    with pytest.raises(LakeError, match=rf"{path.name}: it is {said}.*run the same command again"):
        pack_shard(lake, rows, 95)
    assert list(lake.unfinished.iterdir()) == []
    assert not (lake.root / "shards").exists()
    path.write_bytes(good)
    assert verify_shard(lake, vars(pack_shard(lake, rows, 95))) == []


@pytest.mark.parametrize("count", [3, 20])  # the disk is full at the very end, or long before
def test_a_full_disk_stops_the_packing_and_leaves_nothing(lake: Lake, count: int) -> None:
    data = bytes(3_000_000)
    parts = (Part(data, sha256(data)),) * len(PARTS)
    samples = (Sample(digest(number), 96, 64, parts) for number in range(count))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000_000, hard))  # what is written beyond it fails, as on a full disk
    try:
        with pytest.raises(LakeError, match="mend that and run the same command again"):
            write_shard(lake, samples)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(lake.unfinished.iterdir()) == []
    assert not (lake.root / "shards").exists()


def test_what_is_synced_is_the_whole_shard(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    data = bytes(5_000_000)
    sample = Sample(digest("sample"), 96, 64, (Part(data, sha256(data)),) * len(PARTS))
    _, _, size = write_shard(lake, [sample])
    assert size in synced


def test_a_shard_is_written_in_bounded_memory(lake: Lake) -> None:
    held = most = 0

    class Counted(bytes):
        def __new__(cls, number: int) -> "Counted":
            nonlocal held, most
            held += 1
            most = max(most, held)
            return super().__new__(cls, stream(0, number).bytes(1_000_000))

        def __del__(self) -> None:
            nonlocal held
            held -= 1

    def samples() -> Iterator[Sample]:
        for number in range(40):
            data = Counted(number)
            yield Sample(digest(number), 96, 64, (Part(data, sha256(data)),) + (Part(b"", sha256(b"")),) * 4)

    _, _, size = write_shard(lake, samples())
    assert size > 40_000_000
    assert held <= 1  # the generator's last
    assert most <= 8


def empty_table(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 0), path)


@pytest.mark.parametrize(
    ("suffix", "harm"), [(".tar", flip), (".tar", cut), (".parquet", empty_table), (".parquet", cut)]
)
def test_a_damaged_shard_that_is_there_already_is_not_taken_for_a_good_one(
    lake: Lake, rows: list[Row], suffix: str, harm: Callable[[Path], None]
) -> None:
    shard = pack_shard(lake, rows, 95)
    assert pack_shard(lake, rows, 95) == shard
    path = lake.shard(shard.sha256).with_suffix(suffix)
    harm(path)
    with pytest.raises(LakeError, match=rf"{path.name}: it is there already, and damaged; delete it"):
        pack_shard(lake, rows, 95)
    assert list(lake.unfinished.iterdir()) == []
    path.unlink()
    assert pack_shard(lake, rows, 95) == shard
    assert verify_shard(lake, vars(shard)) == []


def test_an_index_that_says_the_same_in_other_bytes_is_kept(lake: Lake, rows: list[Row]) -> None:
    path = lake.shard(pack_shard(lake, rows, 95).sha256).with_suffix(".parquet")
    pq.write_table(pq.read_table(path), path, compression="none")
    other = path.read_bytes()
    shard = pack_shard(lake, rows, 95)
    assert path.read_bytes() == other
    assert shard.index_sha256 == sha256(other)
    assert verify_shard(lake, vars(shard)) == []


def test_packing_works_where_the_disk_cannot_be_told_to_begin(
    lake: Lake, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pack.FLUSH", 1)
    told_to_begin = pack_shard(lake, rows, 95)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    lake.shard(told_to_begin.sha256).unlink()
    assert pack_shard(lake, rows, 95) == told_to_begin


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_harm_to_a_shard_or_its_index_is_found_and_named(
    lake: Lake, rows: list[Row], suffix: str, harm: Callable[[Path], None]
) -> None:
    shard = pack_shard(lake, rows, 95)
    assert verify_shard(lake, vars(shard)) == []
    path = lake.shard(shard.sha256).with_suffix(suffix)
    harm(path)
    assert path.name in {Path(finding.where).name for finding in verify_shard(lake, vars(shard))}


def test_a_swapped_index_is_found(lake: Lake, rows: list[Row]) -> None:
    first, second = pack_shard(lake, rows[:2], 95), pack_shard(lake, rows[2:4], 95)
    one, other = (lake.shard(shard.sha256).with_suffix(".parquet") for shard in (first, second))
    one.write_bytes(other.read_bytes())
    assert verify_shard(lake, vars(first))
    swapped = vars(replace(first, index_sha256=second.index_sha256))
    assert any("is not where the index says" in finding.what for finding in verify_shard(lake, swapped))


def test_an_input_that_differs_outside_its_mask_is_found(lake: Lake) -> None:
    row = quadruplet(lake, 0)
    row["mask_sha256"] = lake.put_artifact(encode_mask(np.eye(64, 96, dtype=bool)), "png")
    entry = vars(pack_shard(lake, [row], 95))
    (finding,) = verify_shard(lake, entry)
    assert "outside the mask" in finding.what
    assert verify_shard(lake, entry, pasted=False) == []
