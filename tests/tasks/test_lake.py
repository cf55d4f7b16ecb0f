import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import LakeError
from schemas.ids import sha256
from tasks.lake import Lake, create_lake, open_lake, put, swap, temporary_beside, writing


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def test_put_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    assert put(path, b"first")
    assert not put(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@given(data=st.binary(max_size=2000))
def test_an_artifact_lies_under_its_digest(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    lake = create_lake(tmp_path_factory.mktemp("lake") / "lake")
    digest = lake.put_artifact(data, "webp")
    assert digest == sha256(data)
    assert lake.artifact(digest, "webp").read_bytes() == data
    assert lake.put_artifact(data, "webp") == digest


def test_swap_replaces_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    replacement = temporary_beside(path)
    replacement.write_bytes(b"new")
    swap(path, replacement)
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


def test_a_lake_of_a_newer_schema_is_refused(lake: Lake) -> None:
    (lake.root / "lake.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(LakeError, match="schema 99"):
        open_lake(lake.root)


def test_only_one_process_writes(lake: Lake) -> None:
    attempt = f"""
from pathlib import Path
from tasks.lake import open_lake, writing
with writing(open_lake(Path({str(lake.root)!r}))): pass
"""
    with writing(lake):
        second = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert "LakeError" in second.stderr
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
