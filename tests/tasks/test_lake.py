import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import LakeError
from schemas.ids import sha256
from tasks.lake import Lake, create_lake, open_lake, put, swap, writing


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def test_put_never_overwrites_and_leaves_nothing_beside(lake: Lake) -> None:
    path = lake.root / "a" / "b" / "file"
    assert put(lake, path, b"first")
    assert not put(lake, path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert list(lake.unfinished.iterdir()) == []


def test_put_works_on_a_disk_without_hard_links(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = lake.root / "file"
    assert put(lake, path, b"first")
    assert not put(lake, path, b"second")
    assert path.read_bytes() == b"first"
    assert list(lake.unfinished.iterdir()) == []


def test_a_writer_clears_what_a_dead_one_left_unfinished(lake: Lake) -> None:
    lake.temporary().write_bytes(b"half a shard")
    with writing(lake):
        assert not lake.unfinished.exists()


@given(data=st.binary(max_size=2000))
def test_an_artifact_lies_under_its_digest(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lake = create_lake(tmp_path_factory.mktemp("lake") / "lake")
    digest = lake.put_artifact(data, "webp")
    assert digest == sha256(data)
    assert lake.artifact(digest, "webp").read_bytes() == data
    assert lake.put_artifact(data, "webp") == digest


def test_swap_replaces_at_once(lake: Lake) -> None:
    path = lake.root / "file"
    path.write_bytes(b"old")
    replacement = lake.temporary()
    replacement.write_bytes(b"new")
    swap(lake, path, replacement)
    assert path.read_bytes() == b"new"
    assert not replacement.exists()


def test_a_lake_can_be_made_once_and_opened_again(tmp_path: Path) -> None:
    made = create_lake(tmp_path / "lake")
    assert create_lake(tmp_path / "lake") == made == open_lake(tmp_path / "lake")


def test_a_folder_of_other_things_is_no_lake(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(LakeError, match="holds other things"):
        create_lake(tmp_path)
    with pytest.raises(LakeError, match="omnirefiner build"):
        open_lake(tmp_path)


@pytest.mark.parametrize("schema", [99, "2", None, [1]])
def test_a_lake_of_a_newer_schema_is_refused(lake: Lake, schema: object) -> None:
    (lake.root / "lake.json").write_text(json.dumps({"schema": schema}))
    with pytest.raises(LakeError, match="update the project"):
        open_lake(lake.root)


@pytest.mark.parametrize("marker", ["", "{", "[]", "7", '"lake"', "{}", "\x00"])
def test_a_marker_that_says_nothing_is_no_lake(lake: Lake, marker: str) -> None:
    (lake.root / "lake.json").write_text(marker)
    with pytest.raises(LakeError, match="is this the right folder"):
        open_lake(lake.root)


def test_only_one_process_writes(lake: Lake) -> None:
    attempt = f"""
from pathlib import Path
from tasks.lake import open_lake, writing
with writing(open_lake(Path({str(lake.root)!r}))): pass
"""
    with writing(lake):
        second = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert "LakeBusy" in second.stderr
    assert "is writing to it" in second.stderr
    third = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr


def test_the_place_of_a_dead_writer_is_free(lake: Lake) -> None:
    die = f"""
import os
from pathlib import Path
from tasks.lake import open_lake, writing
with writing(open_lake(Path({str(lake.root)!r}))): os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", die], check=False).returncode == -9
    with writing(lake):
        pass


def test_a_writer_that_starts_takes_nothing_from_whoever_needs_no_place(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reviewer puts verdicts beside the writer, who clears the unfinished files of all."""
    link, starting = os.link, [True, True]

    def start_a_writer_first(source: Path, target: Path) -> None:
        if starting:
            starting.pop()
            with writing(lake):
                pass
        link(source, target)

    monkeypatch.setattr(os, "link", start_a_writer_first)
    path = lake.root / "ledger" / "reviews" / "00000001-a.parquet"
    assert put(lake, path, b"keep")
    assert path.read_bytes() == b"keep"
    assert not starting
    assert list(lake.unfinished.iterdir()) == []
