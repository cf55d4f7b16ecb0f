"""An exported folder is read by the tools that it is for."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from schemas.ids import sha256
from tasks.codecs import decode
from tasks.export import export
from tests.tasks.export.conftest import Made, Readers

GONE = {1, 13}


@pytest.fixture
def exported(made: Made, tmp_path: Path) -> Path:
    """A version less two samples, in shards of five."""
    export(made.lake, made.publish("v1", GONE), tmp_path / "out", 5)
    return tmp_path / "out"


def test_datasets_loads_what_was_published(made: Made, exported: Path, readers: Readers) -> None:
    """The first five samples of either split state no licence: a loader that guessed from them would fail."""
    found = readers.read("with_datasets.py", str(exported))
    assert found["streamed"] == made.rows[0]["quadruplet_id"]
    live = {split: [n for n in numbers if n not in GONE]
            for split, numbers in (("train", range(12)), ("validation", range(12, 15)))}  # fmt: skip
    assert set(found["splits"]) == set(live)
    for split, numbers in live.items():
        assert [one["key"] for one in found["splits"][split]] == [made.rows[n]["quadruplet_id"] for n in numbers]
        for one, n in zip(found["splits"][split], numbers, strict=True):
            row = made.rows[n]
            assert one["json"]["target_licence"] == row["target_licence"]
            assert one["json"]["region"] == [[0.2, 0.2], [0.5, 0.2], [0.5, 0.5]]
            assert one["json"]["restore_instruction"] == row["restore_instruction"]
            assert one["sizes"] == [[96, 64]] * 3
            pixels = decode(made.lake.artifact(row["input_sha256"], "webp").read_bytes())
            assert one["input"] == sha256(pixels.tobytes())


def test_croissant_is_valid_and_its_records_are_the_samples(made: Made, exported: Path, readers: Readers) -> None:
    readers.run("mlcroissant", "validate", "--jsonld", str(exported / "croissant.json"))
    found = readers.read("with_croissant.py", str(exported / "croissant.json"))
    assert found["errors"] == found["warnings"] == []
    keys = [row["quadruplet_id"] for n, row in enumerate(made.rows) if n not in GONE]
    assert [record["samples/key"] for record in found["samples"]] == keys
    for part in ("input", "reference", "target", "mask"):
        assert found["pictures"][part] == {key: [96, 64] for key in keys}


def test_energon_reads_every_sample(made: Made, exported: Path, readers: Readers) -> None:
    found = readers.read("with_energon.py", str(exported), "train", "val")
    for part, numbers in (("train", range(12)), ("val", range(12, 15))):
        rows = {made.rows[n]["quadruplet_id"]: made.rows[n]["task"] for n in numbers if n not in GONE}
        assert {one["key"]: one["task"] for one in found[part]} == rows
        assert {tuple(one["shape"]) for one in found[part]} == {(1, 3, 64, 96)}


def test_the_index_is_the_one_that_energon_makes(exported: Path, readers: Readers, tmp_path: Path) -> None:
    own = tmp_path / "prepared"
    own.mkdir()
    for tar in exported.glob("*.tar"):
        (own / tar.name).write_bytes(tar.read_bytes())
    readers.run("energon", "prepare", "--non-interactive", "--num-workers", "1", "--sample-type", "CrudeWebdataset",
                "--split-parts", "train:train-.*", "--split-parts", "val:validation-.*", str(own))  # fmt: skip
    for index in own.glob("*.tar.idx"):
        assert (exported / index.name).read_bytes() == index.read_bytes()
    for table in ("samples", "sample_parts"):
        assert rows_of(exported, table) == rows_of(own, table)


def rows_of(folder: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / ".nv-meta" / "index.sqlite")) as database:
        return database.execute(f"SELECT * FROM {table} ORDER BY 1, 3, 2, 4").fetchall()
