"""Deletion vectors: what a version leaves out of a shard stays out, and a vector that is not as it was is named."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import digest, sha256
from tasks.deletions import DeletionsError, deleted_keys, write_deletions
from tasks.lake import Lake, create_lake

Row = dict[str, Any]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return create_lake(tmp_path_factory.mktemp("deletions") / "lake")


def entry(vector: str | None, deleted: int) -> Row:
    return {"deleted_sha256": vector, "samples": deleted + 3, "live": 3}


@given(numbers=st.lists(st.integers(0, 50)))
def test_what_is_written_is_read_and_its_name_is_that_of_the_set(lake: Lake, numbers: list[int]) -> None:
    keys = [digest(number) for number in numbers]
    vector = write_deletions(lake, keys)
    assert deleted_keys(lake, entry(vector, len(set(keys)))) == frozenset(keys)
    assert write_deletions(lake, sorted(keys, reverse=True)) == vector
    assert (vector is None) == (not keys)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (Path.unlink, "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "digest"),
        (lambda path: path.write_bytes(b""), "digest"),
    ],
)
def test_a_vector_that_is_not_as_it_was_brings_nothing_back(tmp_path: Path, harm: Any, says: str) -> None:
    lake = create_lake(tmp_path / "lake")
    vector = write_deletions(lake, [digest("a"), digest("b")])
    assert vector is not None
    harm(lake.deletions(vector))
    with pytest.raises(DeletionsError, match=rf"{vector}.parquet: .*{says}.*; restore it"):
        deleted_keys(lake, entry(vector, 2))


def test_a_vector_of_another_shard_is_refused(lake: Lake) -> None:
    vector = write_deletions(lake, [digest("a"), digest("b")])
    with pytest.raises(DeletionsError, match="lists 2 samples, the manifest 1"):
        deleted_keys(lake, entry(vector, 1))


def test_another_file_in_a_vectors_place_is_refused(lake: Lake) -> None:
    data = b"no parquet"
    lake.deletions(sha256(data)).write_bytes(data)
    with pytest.raises(DeletionsError, match=sha256(data)):
        deleted_keys(lake, entry(sha256(data), 1))
