"""Stages side by side: the same answers, each question once, and the first that stops ends the others."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flows.build import build
from schemas.errors import SettingsError, StageStopped
from schemas.settings import load_settings
from tasks import catalog
from tasks.lake import open_lake
from tasks.ledger import Row
from tasks.summary import Summary
from tests.tasks.engines.chat_server import Server, serving, well


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def built(noise: Path, lake: Path, server: Server, *more: str) -> Summary:
    settings = [
        "intake.size=128", "intake.min_side=64", "writer.engine=vllm", "judge.engine=vllm",
        f'writer.vlm.endpoints=["{server.url}"]', f'judge.vlm.endpoints=["{server.url}"]', "writer.vlm.image_side=64",
        "judge.vlm.image_side=64", "run.failures_in_a_row=3", "run.workers=1", *more,
    ]  # fmt: skip
    return build(str(noise), str(lake), assignments=settings)


def job(asked: dict[str, Any]) -> str:
    return str(asked["response_format"]["json_schema"]["name"])


def kept(lake: Path) -> list[Row]:
    with catalog.read(open_lake(lake)) as connection:
        sql = 'SELECT * EXCLUDE (run_id, "at") FROM quadruplets ORDER BY quadruplet_id'
        return catalog.rows(connection, sql)


def test_stages_side_by_side_give_the_same_answers_and_ask_nothing_twice(
    noise: Path, prefect: str, tmp_path: Path, server: Server
) -> None:
    async def waiting(asked: dict[str, Any], before: int) -> web.Response:
        """Keep the last pairs waiting until a question of the next stage has come."""
        for _ in range(600):
            if job(asked) != "PairAnswer" or before < 2 or server.jobs()["EditsAnswer"]:
                return well(asked)
            await asyncio.sleep(0.1)
        return web.Response(status=404, text="stages do not overlap")

    built(noise, tmp_path / "one by one", server)
    asked = server.jobs()
    server.asked.clear()
    server.behave = waiting
    summary = built(noise, tmp_path / "overlapped", server, "run.overlap=true")
    assert kept(tmp_path / "overlapped") == kept(tmp_path / "one by one") != []
    assert server.jobs() == asked
    assert [step.stage for step in summary.steps][-5:] == ["pair", "instruct", "edit", "restore", "judge"]
    again = built(noise, tmp_path / "overlapped", server, "run.overlap=true")
    assert sum(step.items for step in again.steps) == 0


def test_a_stage_that_stops_ends_the_others_and_nothing_is_lost(
    noise: Path, prefect: str, tmp_path: Path, server: Server
) -> None:
    lake = tmp_path / "lake"
    server.behave = lambda asked, _before: web.Response(status=404) if job(asked) == "RestoreAnswer" else well(asked)
    with pytest.raises(StageStopped, match=r"stage restore: stopped after \d failures in a row"):
        built(noise, lake, server, "run.overlap=true")
    before = server.jobs()
    server.behave = lambda asked, _before: well(asked)
    summary = built(noise, lake, server, "run.overlap=true")
    assert (summary.funnel.quadruplets, summary.funnel.failures) == (6, 0)
    assert {name: server.jobs()[name] for name in ("PairAnswer", "EditsAnswer")} == {"PairAnswer": 6, "EditsAnswer": 6}
    assert before["RestoreAnswer"] <= 6


def test_overlap_and_serving_stage_by_stage_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="one stage at a time"):
        load_settings("gpu1", ["run.overlap=true"])
