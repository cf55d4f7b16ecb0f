"""vLLM itself, started by us: what it answers, what the doctor says of it, and that it ends."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.errors import ServerError
from schemas.settings import Vlm
from tasks.codecs import encode_jpeg
from tasks.servers import examine_servers
from tasks.serving import models, serving
from tests.live.conftest import AT_ONCE, CONTEXT, Tiny, tiny
from tests.tasks.served import alive

SCHEMA = {
    "type": "object",
    "properties": {"same": {"type": "boolean"}, "share": {"enum": [0, 1]}},
    "required": ["same", "share"],
    "additionalProperties": False,
}


def question(vlm: Vlm, grey: int) -> dict[str, Any]:
    picture = base64.b64encode(encode_jpeg(np.full((64, 96, 3), grey, np.uint8), 90)).decode()
    pictures = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}}] * 2
    return {
        "model": vlm.model,
        "messages": [{"role": "user", "content": [*pictures, {"type": "text", "text": "Is it the same thing?"}]}],
        "max_tokens": 200,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    }


async def ask(vlm: Vlm, count: int) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=vlm.endpoints[0], timeout=vlm.timeout, trust_env=False) as client:
        asked = [client.post("/chat/completions", json=question(vlm, grey)) for grey in range(count)]
        return [reply.raise_for_status().json()["choices"][0] for reply in await asyncio.gather(*asked)]


def test_it_answers_questions_about_two_pictures_at_once_in_their_schema(served: Tiny) -> None:
    answers = asyncio.run(ask(served.vlm, AT_ONCE))
    assert len(answers) == AT_ONCE
    whole = [json.loads(one["message"]["content"]) for one in answers if one["finish_reason"] == "stop"]
    assert whole  # random weights may run into max_tokens, in the middle of blanks
    assert all(isinstance(one["same"], bool) and one["share"] in (0, 1) for one in whole)


def test_it_says_what_it_serves(served: Tiny) -> None:
    assert models(served.vlm, served.vlm.endpoints[0])[served.vlm.model]["max_model_len"] == CONTEXT


def test_the_doctor_is_content_with_it(served: Tiny) -> None:
    (check,) = examine_servers(served.settings)
    assert check.verdict == "ok", check.detail


def test_the_doctor_names_a_wrong_model(served: Tiny) -> None:
    settings = served.settings
    vlm = served.vlm.model_copy(update={"model": "org/another"})
    (check,) = examine_servers(settings.model_copy(update={"writer": settings.writer.model_copy(update={"vlm": vlm})}))
    assert check.verdict == "bad"
    assert f"it serves {served.vlm.model}, not org/another" in check.detail


def test_it_is_gone_when_its_block_ends(checkpoint: Path, tmp_path: Path) -> None:
    vlm = tiny(checkpoint).vlm
    with serving(vlm, tmp_path / "log") as process:
        assert process is not None
        group = members(process.pid)
        assert len(group) > 2  # ours, the server, and those that compute
    assert not any(alive(one) for one in group)
    with pytest.raises(httpx.TransportError):
        models(vlm, vlm.endpoints[0])


def test_a_folder_that_holds_no_model_is_told_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    assert checkpoint.exists()
    with pytest.raises(ServerError) as refused, serving(tiny(tmp_path).vlm, tmp_path / "log"):
        pass
    said = str(refused.value)
    assert said.startswith(f"server of {tmp_path}: it does not start (")
    assert "Invalid repository ID or local directory specified" in said
    assert "\n" not in said


def members(group: int) -> list[int]:
    """Return the processes of a process group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[2]) == group:
                found.append(int(status.parent.name))
        except FileNotFoundError:  # it has just ended
            continue
    return found
