"""Which server runs when a stage begins; servers are stand-ins, each a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from flows.served import servers_on_demand
from schemas.errors import ServerError
from schemas.settings import PROFILES, Settings, Vlm, load_settings
from tests.flows.test_cli import run
from tests.tasks.served import alive, processes, stand_in


def assignments(vlm: Vlm, role: str) -> list[str]:
    arguments = {
        "model": vlm.model,
        "endpoints": list(vlm.endpoints),
        "serve.gpus": 0,
        "serve.python": vlm.serve.python,
    }
    return [f"{role}.engine=vllm", *(f"{role}.vlm.{key}={value}" for key, value in arguments.items())]


def settings(writer: Vlm, judge: Vlm, more: Sequence[str] = ()) -> Settings:
    return load_settings(
        "embedded", ["run.serve=true", *assignments(writer, "writer"), *assignments(judge, "judge"), *more]
    )


def until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError


def test_a_server_goes_on_while_stages_ask_it_and_ends_before_another_starts(tmp_path: Path) -> None:
    writer, judge = stand_in(tmp_path, "writer"), stand_in(tmp_path, "judge")
    with servers_on_demand(settings(writer, judge), tmp_path / "logs") as prepare:
        prepare("ingest")
        assert not (tmp_path / "logs").exists()
        prepare("pair")
        first = processes(writer)
        prepare("instruct")
        assert processes(writer) == first
        prepare("judge")
        assert not any(alive(one) for one in first)
        second = processes(judge)
        prepare("restore")
        third = processes(writer)
    assert not any(alive(one) for one in (*second, *third))


def test_a_server_that_died_meanwhile_is_started_anew_for_the_next_stage(tmp_path: Path) -> None:
    writer = stand_in(tmp_path)
    with servers_on_demand(settings(writer, writer), tmp_path) as prepare:
        prepare("pair")
        first = processes(writer)
        for process in first:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        until(lambda: not any(alive(one) for one in first))
        prepare("restore")
        assert processes(writer) != first
        assert all(alive(one) for one in processes(writer))


@pytest.mark.parametrize(("engine", "goes_on"), [("procedural", True), ("diffusers", False)])
def test_the_gpu_is_free_before_a_pipeline_is_loaded_here(tmp_path: Path, engine: str, goes_on: bool) -> None:
    writer = stand_in(tmp_path)
    with servers_on_demand(settings(writer, writer, [f"edit.engine={engine}"]), tmp_path) as prepare:
        prepare("pair")
        started = processes(writer)
        prepare("edit")
        assert all(alive(one) for one in started) == goes_on
        prepare("restore")
        assert (processes(writer) == started) == goes_on


def test_without_the_setting_servers_are_somebody_elses(tmp_path: Path) -> None:
    writer = stand_in(tmp_path, "breaks")
    with servers_on_demand(settings(writer, writer, ["run.serve=false"]), tmp_path) as prepare:
        prepare("pair")


def test_a_server_that_does_not_start_stops_the_stage(tmp_path: Path) -> None:
    writer = stand_in(tmp_path, "breaks")
    with (
        servers_on_demand(settings(writer, writer), tmp_path) as prepare,
        pytest.raises(ServerError, match="too small"),
    ):
        prepare("pair")


@pytest.mark.parametrize("profile", sorted(path.stem for path in PROFILES.glob("*.toml")))
@pytest.mark.parametrize(
    ("what", "key"), [("vlm", "writer.vlm"), ("judge", "judge.vlm"), ("editor", "edit.images_api")]
)
def test_serve_prints_the_command_of_every_profile(
    profile: str, what: str, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = f"{key}.endpoints=['http://127.0.0.1:8123/v1']"
    assert run(monkeypatch, "serve", what, "--print", "--profile", profile, "--set", here) == 0
    assert "--port 8123" in capsys.readouterr().out


def test_serve_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    chosen = [part for assignment in assignments(vlm, "writer") for part in ("--set", assignment)]
    command = [sys.executable, "-m", "flows.cli", "serve", "vlm", *chosen]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline().strip() == vlm.endpoints[0]
    started = processes(vlm)
    os.kill(server.pid, signal.SIGINT)
    said = server.communicate()[1]
    assert server.returncode == 0, said
    assert not any(alive(one) for one in started)
