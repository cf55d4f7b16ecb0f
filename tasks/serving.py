"""A model's server on this machine: the command that starts it, and one that runs for as long as it is needed."""

import ipaddress
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from schemas.errors import ServerError, SettingsError
from schemas.settings import ImagesApi, Servers, Settings
from tasks.engines.endpoints import authorization, key_of

ROOT = Path(__file__).parents[1]
GUARD = ROOT / "tasks" / "guard.py"

MOST_PICTURES = 4  # in one question to a vision-language model
LOOK_EVERY = 0.5  # seconds
LONGEST_REPLY = 10.0  # seconds, to a question about the server itself
LONGEST_END = 10.0  # seconds for what was killed to be gone
CAUSE_LINES = 3  # of a log

# It tells nobody how it is used, and takes no module from the folder that it is started in.
ALWAYS = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONSAFEPATH": "1"}
ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}  # the space in GB
KEY = "VLLM_API_KEY"  # that it asks for

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# as in `(EngineCore pid=7) ERROR 11-26 07:41:24 [core.py:1] ...`
STAMP = re.compile(r"^(\(\w+ pid=\d+\) ?)?([A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^]]*\] ?)?")
CAUSE = re.compile(r"[\w.]*(Error|Exception)\b")

Tell = Callable[[float, str], None]  # given the seconds so far and the last line of the server's log


def needed(settings: Settings, stage: str) -> Servers | None:
    """Return the servers that a stage asks, if it asks any."""
    if stage in ("pair", "instruct", "restore") and settings.writer.engine == "vllm":
        return settings.writer.vlm
    if stage == "judge" and settings.judge.engine == "vllm":
        return settings.judge.vlm
    if stage == "edit" and settings.edit.engine == "images-api":
        return settings.edit.images_api
    return None


def command(servers: Servers) -> list[str]:
    """Return the command that serves a model as the settings' section `serve` says.

    Raises SettingsError where the endpoint is none that this machine can be.
    """
    host, port = _address(servers)
    serve = servers.serve
    if serve.container is None:
        return [str(interpreter(servers)), *_server(servers, host, port)]
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser().absolute()
    folder = Path(servers.model).absolute()
    volumes = [f"{cache}:{cache}", *([f"{folder}:{folder}:ro"] if folder.is_dir() else [])]
    variables = [f"HF_HOME={cache}", "HF_TOKEN", *environment(servers)]  # of secrets, a command bears the names alone
    return [
        *("docker", "run", "--rm", "--init", "--name", f"omnirefiner-{port}"),
        *("--publish", f"{host}:{port}:{port}", "--ipc", "host"),
        *(("--gpus", str(serve.gpus)) if serve.gpus else ()),
        *(part for volume in volumes for part in ("--volume", volume)),
        *(part for variable in variables for part in ("--env", variable)),
        *("--entrypoint", "python3", serve.container),
        *_server(servers, "0.0.0.0", port),  # in there; out here, only the loopback's port leads to it
    ]


def shell_line(servers: Servers) -> str:
    """Return the command as one line for a shell, with its environment, and a key by the name of its variable."""
    variables = [
        f'{name}="${servers.key_from}"' if name == KEY else f"{name}={shlex.quote(value)}"
        for name, value in environment(servers).items()
    ]
    return " ".join([*variables, shlex.join(command(servers))])


def interpreter(servers: Servers) -> Path:
    """Return the Python of the environment that holds vLLM: the settings' own, or that which make makes."""
    made = ".venv-vllm" if servers.serve.gpus else ".venv-vllm-cpu"
    return servers.serve.python or ROOT / made / "bin" / "python"


def environment(servers: Servers) -> dict[str, str]:
    """Return the environment variables that a server is given; those of this process go before."""
    found = dict(ALWAYS)
    if servers.serve.gpus == 0:
        found |= ON_CPU
    if Path(servers.model).is_dir():
        found["HF_HUB_OFFLINE"] = "1"  # there is nothing to ask the hub for
    if key_of(servers):
        found[KEY] = key_of(servers)
    return found


def models(servers: Servers, endpoint: str) -> dict[str, dict[str, Any]]:
    """Return what an endpoint says of the models that it serves, by name.

    Raises httpx.TransportError where it cannot be reached, ValueError where something else answers.
    """
    reply = httpx.get(
        f"{endpoint.rstrip('/')}/models", headers=authorization(servers), timeout=LONGEST_REPLY, trust_env=False
    )
    if not reply.is_success:
        raise ValueError(f"it answers {reply.status_code} when asked for its models")
    try:
        return {str(model["id"]): dict(model) for model in reply.json()["data"]}
    except (KeyError, TypeError, ValueError):
        raise ValueError("what answers there speaks another protocol than OpenAI's") from None


@contextmanager
def serving(servers: Servers, log: Path, tell: Tell | None = None) -> Iterator[subprocess.Popen[bytes] | None]:
    """Have the model served at its endpoint, and end what was started for it; `log` is what the server says.

    The block is given the process, or None where another's server was there already, which is left running. Nothing
    outlives the block, nor this process, should it be killed.

    Raises ServerError where the endpoint serves another model or the server does not come up, SettingsError where it
    cannot be served from here.
    """
    starts = command(servers)
    if _is_served(servers):
        yield None
        return
    if servers.serve.container is None and not interpreter(servers).exists():
        make = "make vllm" if servers.serve.gpus else "make vllm-cpu"
        raise SettingsError(
            f"server of {servers.model}: no interpreter at {interpreter(servers)}; run `{make}`, or name another "
            "environment that holds vLLM with the setting serve.python"
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-I", str(GUARD), *starts],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=os.environ | environment(servers),
            start_new_session=True,  # Ctrl-C is for this process, which ends the server when it is done with it
        )
    try:
        _wait_until_ready(servers, process, log, tell or (lambda _seconds, _line: None))
        yield process
    finally:
        _end(process)


def why_it_ended(log: Path) -> str:
    """Return the cause in a server's log: its first exception, with what is indented under it, or the last lines."""
    text = log.read_text(errors="replace")
    lines = [STAMP.sub("", COLOUR.sub("", line)).rstrip() for line in text.splitlines() if line.strip()]
    told = lines[-CAUSE_LINES:] or ["it said nothing"]
    in_traceback = False
    for number, line in enumerate(lines):
        in_traceback = in_traceback or line.startswith("Traceback ")
        if in_traceback and CAUSE.match(line):
            more = takewhile(lambda under: under.startswith(" "), lines[number + 1 :])
            told = [line, *more][:CAUSE_LINES]
            break
    return " ".join(" ".join(told).split())[:500]


def _address(servers: Servers) -> tuple[str, int]:
    """Return where to listen."""
    name = f"server of {servers.model}"
    if len(servers.endpoints) > 1:
        raise SettingsError(f"{name}: it has {len(servers.endpoints)} endpoints, of which one can be served from here; "
                            "name that one with --set ....endpoints='[\"http://127.0.0.1:8000/v1\"]'")  # fmt: skip
    url = urlsplit(servers.endpoints[0])
    host = "127.0.0.1" if url.hostname in (None, "localhost") else str(url.hostname)
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback and url.scheme == "http" and url.path.rstrip("/") == "/v1":
            return host, url.port or 80
    raise SettingsError(
        f"{name}: {servers.endpoints[0]} cannot be served from here, only http://127.0.0.1:PORT/v1 can; start it "
        "where it runs, or mend the setting 'endpoints'"
    )


def _server(servers: Servers, host: str, port: int) -> list[str]:
    """Return the module to run and its arguments."""
    serve = servers.serve
    named = ["--served-model-name", servers.model]
    if servers.revision:
        named += ["--revision", servers.revision]
    there = ["--host", host, "--port", str(port)]
    spanned = ["--tensor-parallel-size", str(serve.gpus)] if serve.gpus else []
    # On a CPU a seeded request whose prompt is taken in pieces ends the server (vLLM 0.32)
    fitted = ["--gpu-memory-utilization", str(serve.memory)] if serve.gpus else ["--no-enable-chunked-prefill"]
    if isinstance(servers, ImagesApi):
        omni = ["-m", "vllm_omni.entrypoints.cli.main", "serve", servers.model, "--omni"]
        return [*omni, *named, *there, *spanned, *serve.arguments]
    pictures = json.dumps({"image": MOST_PICTURES, "video": 0})
    return [
        *("-m", "vllm.entrypoints.openai.api_server", "--model", servers.model, *named, *there),
        *("--max-model-len", str(serve.context), "--limit-mm-per-prompt", pictures),
        *spanned,
        *fitted,
        *serve.arguments,
    ]


def _is_served(servers: Servers) -> bool:
    """Say whether the endpoint answers, with the right model. Raises ServerError where it answers with another."""
    endpoint = servers.endpoints[0]
    try:
        found = models(servers, endpoint)
    except httpx.TransportError:
        return False
    except ValueError as error:
        raise ServerError(
            f"server of {servers.model}: {endpoint} is taken ({error}); choose another port in the setting 'endpoints'"
        ) from None
    if servers.model not in found:
        raise ServerError(
            f"server of {servers.model}: {endpoint} serves {' and '.join(found) or 'nothing'}; end that server, or "
            "choose another port in the setting 'endpoints'"
        )
    return True


def _wait_until_ready(servers: Servers, process: subprocess.Popen[bytes], log: Path, tell: Tell) -> None:
    start = time.monotonic()
    while not (_is_healthy(servers) and _is_served(servers)):
        seconds = time.monotonic() - start
        if process.poll() is not None:
            raise ServerError(f"server of {servers.model}: it does not start ({why_it_ended(log)}); see {log}")
        if seconds > servers.serve.ready_within:
            raise ServerError(
                f"server of {servers.model}: not ready within {servers.serve.ready_within:.0f} s "
                f"({_last_line(log)}); see {log}, or raise the setting serve.ready_within"
            )
        tell(seconds, _last_line(log))
        time.sleep(LOOK_EVERY)


def _is_healthy(servers: Servers) -> bool:
    health = servers.endpoints[0].rstrip("/").removesuffix("/v1") + "/health"
    with suppress(httpx.TransportError):
        return httpx.get(health, timeout=LONGEST_REPLY, trust_env=False).is_success
    return False


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = COLOUR.sub("", file.read().decode(errors="replace")).strip().splitlines()
    return STAMP.sub("", lines[-1]) if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started, and wait until they are gone: only then is the GPU's memory free."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.communicate()
    until = time.monotonic() + LONGEST_END
    with suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
