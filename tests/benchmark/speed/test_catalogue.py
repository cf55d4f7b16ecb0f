from pathlib import Path

from benchmark.speed.catalogue import DUCKDB, OURS, PARQUET, lay, measure
from tasks import catalog
from tasks.lake import create_lake


def test_all_contenders_answer_the_same(tmp_path: Path) -> None:
    result = measure(600, 2, tmp_path)
    assert result["same_answers"]
    assert set(result["milliseconds"]) == {OURS, DUCKDB, PARQUET}


def test_the_synthetic_lake_goes_through_the_views_as_a_real_one(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    lay(lake, 600)
    catalog.rebuild(lake)
    with catalog.read(lake) as connection:
        found = catalog.rows(connection, "SELECT name, items FROM funnel ORDER BY step")
        assert [row["items"] for row in found] == [20, 600, 600, 600, 600, 600, 600]
        (row,) = catalog.rows(connection, "SELECT count(DISTINCT quadruplet_id) AS n FROM quadruplets")
        assert row["n"] == 600
