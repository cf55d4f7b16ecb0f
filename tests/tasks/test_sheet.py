from pathlib import Path

import pytest

from schemas.errors import ProjectError
from tasks.lake import Lake
from tasks.sheet import write_sheet


@pytest.mark.parametrize("name", ["s.xyz", "s", ".jpg"])
def test_a_name_of_no_format_is_refused_before_anything_is_drawn(name: str, tmp_path: Path) -> None:
    """Nothing is drawn: there are no quadruplets, of which no sheet can be made."""
    with pytest.raises(ProjectError, match=rf"{name}: its name ends in none of \.jpg, "):
        write_sheet(Lake(tmp_path), [], tmp_path / name)
    assert not list(tmp_path.iterdir())
