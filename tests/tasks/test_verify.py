"""A shard or a manifest that somebody else made: whatever is in it, verify names it, and nothing of it is followed."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from schemas.errors import VersionError
from schemas.ids import sha256
from schemas.settings import Settings
from tasks.lake import Lake, create_lake
from tasks.manifests import manifests, read_manifest, seal, sound_manifests
from tasks.pack import INDEX, PARTS, pack_shard
from tasks.shards import ShardError, decode_part, read_samples
from tasks.verify import verify_shard
from tasks.versions import write_manifest
from tests.tasks.test_pack import quadruplet
from tests.tasks.test_photos import encoded

Row = dict[str, Any]


@dataclass
class Member:
    """What is written into a tar: header and bytes."""

    header: tarfile.TarInfo
    data: bytes


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def regular(name: str, data: bytes) -> Member:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return Member(header, data)


def members_of(lake: Lake) -> list[Member]:
    """Return the members of a sound shard of two samples."""
    shard = pack_shard(lake, [quadruplet(lake, 0), quadruplet(lake, 1)], 95)
    with tarfile.open(lake.shard(shard.sha256)) as tar:
        return [regular(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def stored(lake: Lake, members: Sequence[Member], **changes: Any) -> Row:
    """Write a shard of these members, with an index and digests that agree with it; return its entry."""
    tar, offset = io.BytesIO(), 0
    index: list[Row] = []
    for member in members:
        header = member.header.tobuf(tarfile.GNU_FORMAT)
        offset += len(header)
        key, _, part = member.header.name.partition(".")
        if part in PARTS:
            if not index or index[-1]["key"] != key:
                index.append({"key": key, "width": 96, "height": 64})
            index[-1] |= {
                f"{part}.offset": offset,
                f"{part}.size": len(member.data),
                f"{part}.sha256": sha256(member.data),
            }
        padded = member.data + bytes(-len(member.data) % 512)
        tar.write(header + padded)
        offset += len(padded)
    tar.write(bytes(1024))
    data = tar.getvalue()
    path = lake.shard(sha256(data))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    pq.write_table(pa.Table.from_pylist(index, schema=INDEX), path.with_suffix(".parquet"))
    entry = {
        "sha256": path.stem, "index_sha256": sha256(path.with_suffix(".parquet").read_bytes()), "samples": len(index),
        "live": len(index), "deleted_sha256": None, "bytes": len(data), "split_group": "train", "jpeg_quality": 95,
    }  # fmt: skip
    return entry | changes


def findings(lake: Lake, members: Sequence[Member]) -> list[str]:
    return [finding.what for finding in verify_shard(lake, stored(lake, members))]


def test_a_sound_shard_laid_out_anew_is_sound(lake: Lake) -> None:
    assert findings(lake, members_of(lake)) == []


class Trap:
    """Unpickled, it leaves a mark."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("unpickled"), "yes"))


@pytest.mark.parametrize(
    "name", ["{key}.pkl", "{key}.pyd", "{key}.pth", "{key}.cls", "../../escaped.json", "/abs.json"]
)
@pytest.mark.parametrize("at", [0, 2, 10])
def test_a_part_of_another_name_is_named_and_left_alone(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    monkeypatch.chdir(tmp_path)
    members = members_of(lake)
    wanted = name.format(key=members[0].header.name.partition(".")[0])
    members.insert(at, regular(wanted, pickle.dumps(Trap())))
    (what,) = findings(lake, members)
    assert wanted in what
    assert not (tmp_path / "unpickled").exists()
    assert not list(tmp_path.parent.rglob("escaped.json"))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE,
     tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"?"],
)  # fmt: skip
def test_what_is_no_file_is_named_and_not_followed(lake: Lake, kind: bytes) -> None:
    members = members_of(lake)
    members[1].header.type, members[1].header.linkname = kind, "/etc/passwd"
    (what,) = findings(lake, members)
    assert members[1].header.name in what
    assert "no file" in what


@pytest.mark.parametrize("size", [2**40, -512, 2**25 + 1])
def test_an_unlikely_size_is_named_before_anything_is_read(lake: Lake, size: int) -> None:
    members = members_of(lake)
    members[0].header.size = size
    (what,) = findings(lake, members)
    assert f"declares {size} bytes" in what


def replaced(members: Sequence[Member], part: str, data: bytes) -> list[Member]:
    name = next(member.header.name for member in members if member.header.name.endswith(part))
    return [regular(name, data) if member.header.name == name else member for member in members]


BOMB = encoded(Image.new("1", (40_000, 40_000)))
PROGRESSIVE = encoded(Image.new("L", (96, 64)), "JPEG", progressive=True)
SCANS = PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2] * 5000 + PROGRESSIVE[-2:]


@pytest.mark.parametrize(
    ("part", "data", "says"),
    [
        ("mask.png", BOMB, "declares 40000 x 40000 px"),
        ("mask.png", encoded(Image.new("RGB", (96, 64)), "JPEG"), "cannot identify"),
        ("mask.png", b"", "cannot identify"),
        ("input.webp", encoded(Image.new("RGB", (96, 64))), "cannot identify"),
        ("input.webp", encoded(Image.new("RGB", (9000, 9000)), "WEBP", method=0, quality=0), "declares 9000 x 9000 px"),
        ("target.webp", encoded(Image.new("RGB", (32, 32)), "WEBP"), "differ in size"),
        ("reference.jpg", SCANS, "scans"),
        ("reference.jpg", b"\xff\xd8\xff", "cannot identify"),
        ("json", b"[" * 200_000, "recursion"),
        ("json", b"[1]", "no JSON object"),
        ("json", b'{"key": "another"}', "another key"),
        ("json", b"\xff{}", "does not decode"),
        ("json", pickle.dumps({}), "does not decode"),
    ],
)
def test_a_part_that_is_not_what_its_name_says_is_named(lake: Lake, part: str, data: bytes, says: str) -> None:
    (what,) = findings(lake, replaced(members_of(lake), part, data))
    assert says in what


def test_a_shard_that_is_cut_or_goes_on_is_named(lake: Lake) -> None:
    entry = stored(lake, members_of(lake))
    path = lake.shard(entry["sha256"])
    sound = path.read_bytes()
    for data, says in (
        (sound[:-1024], "cut or damaged"), (sound[:3000], "in the middle of"), (b"", "cut or damaged"),
        (sound + sound, "goes on after its end"), (sound + bytes(20_000), "goes on after its end"),
        (sound[512:], "cut or damaged"),
    ):  # fmt: skip
        path.write_bytes(data)
        assert any(says in finding.what for finding in verify_shard(lake, entry)), says
    path.write_bytes(sound + bytes(9 * 1024))  # as other writers of tar files end
    assert len(list(read_samples(path))) == 2


def test_an_index_that_is_none_is_named(lake: Lake) -> None:
    entry = stored(lake, members_of(lake))
    path = lake.shard(entry["sha256"]).with_suffix(".parquet")
    table = pq.read_table(path)
    for write, says in (
        (lambda: pq.write_table(table.drop_columns(["key"]), path), "columns"),
        (lambda: pq.write_table(pa.concat_tables([table] * 2), path), "lists 4 samples"),
        (lambda: pq.write_table(table.slice(0, 0), path), "lists 0 samples"),
        (lambda: path.write_bytes(b"PAR1" + bytes(80) + b"PAR1"), "cannot be read"),
        (lambda: path.write_bytes(b""), "cannot be read"),
    ):
        write()
        changed = entry | {"index_sha256": sha256(path.read_bytes())}
        assert any(says in finding.what for finding in verify_shard(lake, changed)), says
    nulls = pa.table({field.name: pa.nulls(2, field.type) for field in INDEX}, schema=INDEX)
    pq.write_table(nulls, path)
    assert verify_shard(lake, entry | {"index_sha256": sha256(path.read_bytes())})


def test_only_parts_with_a_decoder_are_decoded() -> None:
    for part in ("pkl", "pyd", "pth", "__class__", "input.png"):
        with pytest.raises(ShardError, match="no part that is read"):
            decode_part(part, pickle.dumps(Trap()))


@pytest.fixture
def published(lake: Lake) -> Lake:
    """A lake with a version 'v1' of one shard."""
    rows = [quadruplet(lake, 0), quadruplet(lake, 1)]
    run = {"run_id": "000001", "fingerprints": "{}"}
    write_manifest(lake, "v1", [pack_shard(lake, rows, 95)], rows, None, run, Settings())
    return lake


def edited(change: Callable[[Row], object]) -> Callable[[bytes], bytes]:
    """Return an edit of a manifest that seals it again, as one who wants to be believed would."""

    def edit(data: bytes) -> bytes:
        manifest = json.loads(data)
        change(manifest)
        return json.dumps(manifest | {"seal": seal(manifest)}).encode()

    return edit


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda data: data[:100], "cannot be read"),
        (lambda data: b"", "cannot be read"),
        (lambda data: b"[" * 200_000, "cannot be read"),
        (lambda data: b"[]", "damaged"),
        (lambda data: b"\xff" + data, "cannot be read"),
        (lambda data: data.replace(b'"sequence": 1', b'"sequence": 2'), "edited since"),
        (lambda data: data.replace(b'"sequence": 1', b'"sequence": NaN'), "sequence"),
        (edited(lambda m: m.pop("shards")), "shards"),
        (edited(lambda m: m.update(name="../v1")), "is that of '../v1'"),
        (edited(lambda m: m.update(sequence="1")), "sequence"),
        (edited(lambda m: m.update(sequence=2**63)), "sequence"),
        (edited(lambda m: m.update(schema=3)), "schema 3"),
        (edited(lambda m: m["shards"][0].update(sha256="../../../etc/passwd")), "shards.0.sha256"),
        (edited(lambda m: m["shards"][0].update(samples=-1)), "shards.0.samples"),
        (edited(lambda m: m["shards"][0].pop("bytes")), "shards.0.bytes"),
        (edited(lambda m: m["shards"][0].update(deleted_sha256="../../x")), "shards.0.deleted_sha256"),
        (edited(lambda m: m.update(parent="\ud800")), "surrogates"),
    ],
)
def test_a_manifest_that_is_damaged_is_refused_in_one_line(
    published: Lake, edit: Callable[[bytes], bytes], says: str
) -> None:
    path = published.manifest("v1")
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(VersionError) as refused:
        read_manifest(published, "v1")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(sound_manifests(published)) == []


def test_a_sound_manifest_is_as_it_was_published(published: Lake) -> None:
    assert manifests(published) == [json.loads(published.manifest("v1").read_bytes())]
