"""Export: the version's samples and no others, byte by byte; whatever goes wrong leaves nothing behind."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ExportError, LakeError
from schemas.ids import sha256
from schemas.settings import load_settings
from tasks.export import export
from tasks.export.licences import of_all
from tasks.lake import Lake
from tasks.manifests import Manifest
from tasks.pack import PARTS
from tasks.shards import read_samples
from tests.tasks.export.conftest import ROOT, Made, made_in

Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.mktemp("export") / "lake")


def packed(made: Made) -> list[tuple[str, Parts]]:
    """Return all samples as they were packed, in order."""
    return [
        (sample.key, {part: stored.data for part, stored in sample.parts.items()})
        for shard in made.shards
        for sample in read_samples(made.lake.shard(shard.sha256))
    ]


def laid(folder: Path, shards: list[dict[str, Any]]) -> list[tuple[str, Parts]]:
    """Return all samples of an exported folder, as webdataset reads them."""
    paths = [str(folder / shard["name"]) for shard in shards]
    return [
        (sample["__key__"], {part: sample[part] for part in PARTS})
        for sample in webdataset.WebDataset(paths, shardshuffle=False, empty_check=False)
    ]


@settings(max_examples=10, deadline=None)
@given(gone=st.sets(st.integers(0, 14), max_size=14), size=st.integers(1, 20))
def test_the_samples_are_the_versions_byte_by_byte_and_in_its_order(once: Made, gone: set[int], size: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        number = len(list((once.lake.root / "versions").glob("*"))) if (once.lake.root / "versions").exists() else 0
        manifest = once.publish(f"v{number}", gone)
        folder = Path(scratch) / "out"
        told = export(once.lake, manifest, folder, size)
        live = [sample for n, sample in enumerate(packed(once)) if n not in gone]
        assert laid(folder, told["shards"]) == live
        assert told["samples"] == len(live) == manifest["samples"]
        for split, numbers in (("train", range(12)), ("validation", range(12, 15))):
            samples = len(set(numbers) - gone)
            shards = [shard for shard in told["shards"] if shard["split"] == split]
            full, rest = divmod(samples, size)
            assert [shard["samples"] for shard in shards] == [size] * full + [rest] * bool(rest)
            assert [shard["name"] for shard in shards] == [
                f"{split}-{n:05}-of-{len(shards):05}.tar" for n in range(len(shards))
            ]


def test_the_same_version_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    manifest = made.publish("v1", {3})
    for name in ("a", "b"):
        export(made.lake, manifest, tmp_path / name, 4)
    assert (tmp_path / "a" / "SHA256SUMS").read_bytes() == (tmp_path / "b" / "SHA256SUMS").read_bytes()


def test_sha256sum_checks_all_files(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(made.lake, made.publish("v1"), folder, 4)
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert listed == there - {"SHA256SUMS"}
    check = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 0
    flip(folder / "train-00001-of-00003.tar")
    told = subprocess.run(check, cwd=folder, check=False, capture_output=True, text=True)
    assert told.stdout == "train-00001-of-00003.tar: FAILED\n"


def test_the_table_says_where_each_part_lies(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    told = export(made.lake, made.publish("v1", {0}), folder, 5)
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    assert [row["key"] for row in rows] == [row["quadruplet_id"] for row in made.rows[1:]]
    for row in rows:
        data = (folder / row["shard"]).read_bytes()
        for part in PARTS:
            begin = row[f"{part}.offset"]
            assert sha256(data[begin : begin + row[f"{part}.size"]]) == row[f"{part}.sha256"]
        assert row["number"] == [each["key"] for each in rows if each["shard"] == row["shard"]].index(row["key"])
    assert {(shard["name"], shard["split"]) for shard in told["shards"]} == {(r["shard"], r["split"]) for r in rows}


def test_what_a_server_or_a_machine_is_called_is_not_told(made: Made, tmp_path: Path) -> None:
    weights = tmp_path / "private-taef2"
    weights.write_bytes(b"weights")
    private = ["writer.engine=vllm", "writer.vlm.endpoints=['http://private.host:8000/v1']",
               "writer.vlm.key_from=A_KEY", "writer.vlm.model=/private/folder/the-model",
               "writer.vlm.licence=Apache-2.0",
               "writer.vlm.outputs=no *terms*", "writer.vlm.serve.python=/private/python",
               f"edit.autoencoder={weights}"]  # fmt: skip
    export(made.lake, made.publish("v1", settings=load_settings("embedded", private)), tmp_path / "out", 4)
    card = (tmp_path / "out" / "README.md").read_text()
    told = "".join((tmp_path / "out" / name).read_text() for name in ("README.md", "manifest.json", "croissant.json"))
    assert "private" not in told
    assert "A_KEY" not in told
    assert "the-model | Apache-2.0 | no \\*terms\\*" in card
    assert 'license: "other"' in card


@pytest.mark.parametrize(
    ("photos", "models", "licence"),
    [
        ([("CC BY 4.0",)], [], "cc-by-4.0"),
        ([("CC0",), ("cc0-1.0",)], [], "other"),  # said in two ways: a person may know that it is one
        ([("not stated",)], [], "unknown"),
        ([("CC BY 4.0",), ("CC BY 4.0", "not stated")], [], "other"),
        ([("CC BY 4.0",)], [{"licence": "Apache-2.0"}], "other"),
        ([("our own",)], [], "other"),
    ],
)
def test_one_licence_stands_for_all_only_where_all_have_it(photos: Any, models: Any, licence: str) -> None:
    assert of_all(dict.fromkeys(photos, 1), models)["license"] == licence


def test_the_card_counts_what_is_there(made: Made, tmp_path: Path) -> None:
    told = export(made.lake, made.publish("v1", {0}), tmp_path / "out", 5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| train | 11 | 3 |" in card
    assert "| text | 7 | 7 | 14 |" in card
    assert "train-{00000..00002}-of-00003.tar" in card
    assert told["counts"]["licences"] == [
        {"of_photos": ["CC BY 4.0", "not stated"], "samples": 4}, {"of_photos": ["not stated"], "samples": 10},
    ]  # fmt: skip


# What goes wrong ------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shard_of(lake: Lake, manifest: Manifest) -> Path:
    return lake.shard(manifest["shards"][1]["sha256"])


def index_of(lake: Lake, manifest: Manifest) -> Path:
    return shard_of(lake, manifest).with_suffix(".parquet")


def vector_of(lake: Lake, manifest: Manifest) -> Path:
    return lake.deletions(manifest["shards"][1]["deleted_sha256"])


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
@pytest.mark.parametrize("harmed", [shard_of, index_of, vector_of])
def test_what_is_damaged_stops_the_export_by_its_name(
    made: Made, tmp_path: Path, harmed: Callable[[Lake, Manifest], Path], harm: Callable[[Path], None]
) -> None:
    manifest = made.publish("v1", {7})
    path = harmed(made.lake, manifest)
    harm(path)
    with pytest.raises((ExportError, LakeError), match=rf"{path.parent.name}/{path.name}: .*; restore it"):
        export(made.lake, manifest, tmp_path / "out", 4)
    assert list(tmp_path.iterdir()) == [made.lake.root]


def test_a_folder_that_holds_something_is_refused(made: Made, tmp_path: Path) -> None:
    manifest = made.publish("v1")
    folder = tmp_path / "out"
    folder.mkdir()
    export(made.lake, manifest, folder, 4)
    before = sorted(folder.iterdir())
    with pytest.raises(ExportError, match="there is something already; name a new or an empty folder"):
        export(made.lake, manifest, folder, 4)
    with pytest.raises(ExportError, match="there is something already"):
        export(made.lake, manifest, folder / "README.md", 4)
    assert sorted(folder.iterdir()) == before


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(made: Made, tmp_path: Path) -> None:
    manifest = made.publish("v1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # what is written beyond it fails, as on a full disk
    try:
        with pytest.raises(ExportError, match=r"out: .*; mend that and run it again"):
            export(made.lake, manifest, tmp_path / "out", 12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [made.lake.root]


KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.export import export
from tasks.lake import open_lake
from tasks.manifests import read_manifest
lake = open_lake(Path(sys.argv[1]))
done = []
def advance(items):
    done.append(items)
    if len(done) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
export(lake, read_manifest(lake, "v1"), Path(sys.argv[2]), 4, advance)
"""


def test_a_killed_export_leaves_no_folder_and_the_next_one_clears_its_remains(made: Made, tmp_path: Path) -> None:
    manifest = made.publish("v1")
    command = [sys.executable, "-c", KILLED, str(made.lake.root), str(tmp_path / "out")]
    assert subprocess.run(command, cwd=ROOT, check=False, env=os.environ).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.unfinished", "lake"]
    export(made.lake, manifest, tmp_path / "out", 4)
    export(made.lake, manifest, tmp_path / "again", 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "lake", "out"]
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == (tmp_path / "again" / "SHA256SUMS").read_bytes()


def test_two_exports_to_one_place_do_not_meet(made: Made, tmp_path: Path) -> None:
    manifest = made.publish("v1")
    said: list[str] = []

    def meanwhile(_: int) -> None:
        if not said:
            with pytest.raises(ExportError) as refused:
                export(made.lake, manifest, tmp_path / "out", 4)
            said.append(str(refused.value))

    export(made.lake, manifest, tmp_path / "out", 4, meanwhile)
    assert "another export is writing there" in said[0]
