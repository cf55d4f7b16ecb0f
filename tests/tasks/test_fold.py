"""Folding: the ledger holds the same rows in fewer files, whenever it is cut short."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import ledger
from tasks.fold import MANY, fold
from tasks.lake import Lake, create_lake
from tasks.ledger import answered


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
