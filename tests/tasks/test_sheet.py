from pathlib import Path

import pytest

from schemas.errors import ProjectError
from schemas.records import Score
from tasks.catalog import read
from tasks.lake import Lake
from tasks.sheet import ranked_pairs, write_sheet
from tests.conftest import Built


@pytest.mark.parametrize("name", ["s.xyz", "s", ".jpg"])
def test_a_name_of_no_format_is_refused_before_anything_is_drawn(name: str, tmp_path: Path) -> None:
    """Nothing is drawn: there are no quadruplets, of which no sheet can be made."""
    with pytest.raises(ProjectError, match=rf"{name}: its name ends in none of \.jpg, "):
        write_sheet(Lake(tmp_path), [], tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("score", Score)
def test_pairs_are_ranked_with_the_best_the_middle_and_the_worst(built: Built, score: Score) -> None:
    with read(built.lake) as connection:
        everything = ranked_pairs(connection, score, 1000)
        some = ranked_pairs(connection, score, 6)
    scores = [row[score] for _, row in everything]
    assert scores == sorted(scores, reverse=True)
    assert [name for name, _ in some] == [
        f"{name}, {rank} of {len(scores)}"
        for name, first in (("best", 1), ("median", (len(scores) - 2) // 2 + 1), ("worst", len(scores) - 1))
        for rank in (first, first + 1)
    ]
    assert some[0][1] == everything[0][1]
    assert some[-1][1] == everything[-1][1]
