"""The whole build with a vision-language model as writer and judge: real stages and editor, a small server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flows.build import build
from schemas.errors import StageStopped
from schemas.settings import load_settings
from tasks import catalog
from tasks.fingerprints import fingerprints
from tasks.forecast import forecast, gpus_of
from tasks.lake import open_lake
from tasks.ledger import Row
from tasks.listing import list_photos
from tasks.summary import Summary
from tests.tasks.engines.chat_server import GOOD, Server, said, serving, well


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def built(noise: Path, lake: Path, server: Server, *more: str) -> Summary:
    settings = [
        "intake.size=128", "intake.min_side=64", "writer.engine=vllm", "judge.engine=vllm",
        f'writer.vlm.endpoints=["{server.url}"]', f'judge.vlm.endpoints=["{server.url}"]', "writer.vlm.image_side=64",
        "judge.vlm.image_side=64", "writer.vlm.patience=0.2", "run.failures_in_a_row=3", *more,
    ]  # fmt: skip
    return build(str(noise), str(lake), assignments=settings)


def ask(lake: Path, sql: str) -> list[Row]:
    with catalog.read(open_lake(lake)) as connection:
        return catalog.rows(connection, sql)


def test_the_model_judges_pairs_writes_both_sentences_and_judges_what_was_made(
    noise: Path, prefect: str, tmp_path: Path, server: Server
) -> None:
    lake = tmp_path / "lake"
    summary = built(noise, lake, server)
    pairs = summary.funnel.pairs
    assert pairs == summary.funnel.pairs_compared == 6  # of two products of three photos
    assert server.jobs() == {"PairAnswer": 6, "EditsAnswer": 6, "RestoreAnswer": 6, "JudgeAnswer": 6}
    kept = ask(lake, "SELECT * FROM quadruplets WHERE accepted")
    assert {row["restore_instruction"] for row in kept} == {GOOD["RestoreAnswer"]["sentence"]}
    assert [row["judged"] for row in kept] == pytest.approx([0.8] * 6)
    assert {row["product"] for row in kept} == {"cup", "mug"}
    spent = {step.stage: (step.requests, step.tokens_in, step.tokens_out) for step in summary.steps if step.requests}
    assert spent == dict.fromkeys(("pair", "instruct", "restore", "judge"), (6, 600, 120))
    again = built(noise, lake, server)
    assert sum(step.items for step in again.steps) == 0
    assert len(server.asked) == 24


def test_what_the_judge_marks_down_is_a_rejection_that_names_the_criterion(
    noise: Path, prefect: str, tmp_path: Path, server: Server
) -> None:
    bad = {**GOOD["JudgeAnswer"], "reference_shows": 2, "reason": "The reference shows the back."}

    def behave(asked: dict[str, Any], before: int) -> web.Response:
        judging = asked["response_format"]["json_schema"]["name"] == "JudgeAnswer"
        return said(json.dumps(bad)) if judging and before % 2 else well(asked)

    server.behave = behave
    lake = tmp_path / "lake"
    summary = built(noise, lake, server, "run.workers=1")
    refused = ask(lake, "SELECT reason, detail FROM rejections WHERE stage = 'judge'")
    assert 0 < len(refused) < 6
    assert refused[0] == {"reason": "reference_shows", "detail": "The reference shows the back."}
    assert summary.funnel.quadruplets == 6 - len(refused)
    asked = len(server.asked)
    lenient = built(noise, lake, server, "judge.min_score=0.1", "run.workers=1")
    assert lenient.funnel.quadruplets == 6
    assert len(server.asked) == asked  # the cut only reads the marks
    without = built(noise, lake, server, "judge.engine=none")
    assert without.funnel.quadruplets == 6


def test_a_server_that_dies_half_way_costs_no_answer_and_no_second_request(
    noise: Path, prefect: str, tmp_path: Path, server: Server
) -> None:
    lake = tmp_path / "lake"
    server.behave = lambda asked, before: well(asked) if before < 9 else web.Response(status=404, text="no such model")
    with pytest.raises(StageStopped, match=r"stage instruct: .* failures in a row.*404 no such model"):
        built(noise, lake, server)
    served = 9
    server.asked.clear()
    server.behave = lambda asked, _before: well(asked)
    summary = built(noise, lake, server)
    assert summary.funnel.quadruplets == 6
    assert summary.funnel.failures == 0
    assert len(server.asked) == 24 - served


def test_a_judge_that_is_down_is_told_as_failures(noise: Path, prefect: str, tmp_path: Path, server: Server) -> None:
    server.behave = lambda asked, _before: (
        web.Response(status=404) if asked["response_format"]["json_schema"]["name"] == "JudgeAnswer" else well(asked)
    )
    lake = tmp_path / "lake"
    summary = built(noise, lake, server, "run.failures_in_a_row=50")
    assert summary.funnel.failures == 6
    assert summary.funnel.quadruplets == 0


def test_broken_answers_are_refused_and_kept(noise: Path, prefect: str, tmp_path: Path, server: Server) -> None:
    server.behave = lambda _asked, _before: said("no")
    lake = tmp_path / "lake"
    summary = built(noise, lake, server)
    assert summary.funnel.refused["pair"] == {"broken-answer": 6}
    (row, *_) = ask(lake, "SELECT evidence FROM rejections")
    assert json.loads(row["evidence"])["answer"] == "no"


def test_another_prompt_redoes_its_stage_and_what_follows_only(
    noise: Path, prefect: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.engines import vllm

    lake = tmp_path / "lake"
    built(noise, lake, server)
    server.asked.clear()
    ours = vllm.prompt
    monkeypatch.setattr(vllm, "prompt", lambda job: ours(job) + ("\nBe brief." if job == "restore" else ""))
    summary = built(noise, lake, server)
    asked = {step.stage: step.items for step in summary.steps if step.items}
    assert asked == {"restore": 6}  # the same words come back, and those were judged
    assert server.jobs() == {"RestoreAnswer": 6}


def test_a_dry_run_tells_the_gpu_hours_at_the_rates_measured(
    noise: Path, prefect: str, tmp_path: Path, server: Server
) -> None:
    lake = tmp_path / "lake"
    built(noise, lake, server)
    settings = load_settings(assignments=["writer.engine=vllm", "edit.engine=images-api", "writer.vlm.serve.gpus=2"])
    assert [gpus_of(stage, settings) for stage in ("ingest", "pair", "edit", "restore")] == [0, 2, 1, 2]
    with catalog.plan(open_lake(lake), fingerprints(settings), settings) as connection:
        forecasts = {one.stage: one for one in forecast(connection, list_photos(noise), settings)}
    pair = forecasts["pair"]
    assert pair.gpu_hours == pytest.approx(pair.seconds / settings.run.workers / 3600 * 2)
    assert forecasts["ingest"].gpu_hours == 0
