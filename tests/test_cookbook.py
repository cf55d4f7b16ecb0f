"""The questions of docs/cookbook.md have answers."""

import re
import shutil
from pathlib import Path

import pytest

from flows.curate import curate
from tasks import catalog
from tasks.catalog import QueryError
from tasks.lake import open_lake
from tests.conftest import Built

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cookbook.md").read_text()
QUESTIONS = re.findall(r"## \d+\. (.+?)\n.*?```sql\n(.*?)\n```\n\n\| (.+?) \|\n", PAGE, re.DOTALL)


def test_there_are_ten() -> None:
    assert len(QUESTIONS) == 10


def test_each_question_has_an_answer_of_the_columns_that_the_page_shows(scored: Built, tmp_path: Path) -> None:
    shutil.copytree(scored.lake.root, tmp_path / "lake")
    curate(str(tmp_path / "lake"), str(ROOT / "schemas" / "filters" / "strict.toml"))
    with catalog.read(open_lake(tmp_path / "lake")) as connection:
        for title, sql, columns in QUESTIONS:
            try:
                answer = catalog.ask(connection, sql)
            except QueryError as error:
                pytest.fail(f"{title} {error}")
            told = [name for name, *_ in connection.execute(f"DESCRIBE {sql}").fetchall()]
            assert told == columns.split(" | "), title
            assert answer or "rejections" in sql, title  # in this small lake nothing may be turned down
