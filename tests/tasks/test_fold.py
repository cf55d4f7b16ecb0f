"""Folding: the ledger holds the same rows in fewer files, whenever it is cut short."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import LakeError
from schemas.records import EngineFailure
from tasks import ledger
from tasks.fold import MANY, fold
from tasks.lake import Lake, create_lake
from tasks.ledger import answered, not_answered


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def write(lake: Lake, run: int, count: int) -> None:
    for number in range(count):
        ledger.append(lake, "embed", f"{run:06d}", "now", [answered(f"{run}-{number}")], 1.0)


def held(lake: Lake) -> list[str]:
    return sorted(row["item_id"] for row in ledger.read_all(lake, "embed"))


def test_many_small_files_become_one_and_a_few_stay(lake: Lake) -> None:
    write(lake, 1, MANY - 1)
    assert fold(lake) == 0
    write(lake, 2, 1)
    before = ledger.read_all(lake, "embed")
    assert fold(lake) == MANY
    (folded,) = ledger.files(lake, "embed")
    assert folded.name.startswith("000002-")
    assert ledger.read_all(lake, "embed") == before  # the whole rows, in their order
    assert fold(lake) == 0


def test_what_was_folded_stays_until_the_next_folding(lake: Lake) -> None:
    write(lake, 1, MANY)
    fold(lake)
    assert len(ledger.all_files(lake, "embed")) == MANY + 1
    ledger.all_files(lake, "embed")[3].unlink()  # as a folding does that is cut short there
    assert len(held(lake)) == MANY
    fold(lake)
    assert ledger.all_files(lake, "embed") == ledger.files(lake, "embed")
    assert len(held(lake)) == MANY


def test_what_comes_back_from_a_backup_counts_no_more(lake: Lake) -> None:
    write(lake, 1, MANY)
    backup = {path: path.read_bytes() for path in ledger.files(lake, "embed")}
    fold(lake)
    write(lake, 2, MANY)
    fold(lake)
    fold(lake)
    for path, data in backup.items():
        path.write_bytes(data)
    assert len(held(lake)) == len(set(held(lake))) == 2 * MANY
    fold(lake)
    assert len(held(lake)) == 2 * MANY


def test_columns_of_newer_code_stay(lake: Lake) -> None:
    write(lake, 1, MANY)
    path = ledger.files(lake, "embed")[5]
    table = pq.read_table(path)
    pq.write_table(table.append_column("novel", pa.array([7])), path)
    fold(lake)
    (folded,) = ledger.files(lake, "embed")
    assert sorted(filter(None, pq.read_table(folded)["novel"].to_pylist())) == [7]


def test_a_damaged_file_is_told_and_nothing_is_folded(lake: Lake) -> None:
    write(lake, 1, MANY)
    path = ledger.files(lake, "embed")[5]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LakeError, match=rf"ledger/embed/{path.name} cannot be read"):
        fold(lake)
    assert len(ledger.files(lake, "embed")) == MANY


def test_what_failed_before_is_answered_in_the_same_run(lake: Lake) -> None:
    ledger.append(lake, "embed", "000001", "now", [not_answered("a", EngineFailure("down"))], 1.0)
    for _ in range(2):  # however often it is tried
        ledger.append(lake, "embed", "000001", "now", [answered("a")], 1.0)
    assert [row["status"] for row in ledger.read_all(lake, "embed")].count("answered") == 1


def test_runs_keep_their_files(lake: Lake) -> None:
    rows = [{"event": "started"}]
    for run in range(MANY):
        ledger.write(lake, "runs", f"{run:06d}", "started", rows)
    assert fold(lake) == 0


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, MANY + 5), min_size=1, max_size=4))
def test_no_row_is_lost_or_doubled_however_often_it_is_folded(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    lake = create_lake(tmp_path_factory.mktemp("folded") / "lake")
    for run, count in enumerate(counts):
        write(lake, run, count)
        fold(lake)
    assert held(lake) == sorted(f"{run}-{number}" for run, count in enumerate(counts) for number in range(count))
