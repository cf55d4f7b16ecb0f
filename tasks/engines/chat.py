"""One question to a vision-language model over OpenAI's chat protocol, answered by a record of ours or not at all."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
from pydantic import ValidationError

from schemas.ids import digest
from schemas.records import EngineFailure, Pixels, Record, Refusal
from schemas.settings import Vlm
from tasks.engines.endpoints import post

Answer = TypeVar("Answer", bound=Record)

JPEG_QUALITY = 90
MOST_BYTES = 2**18  # of a reply: the longest answer has a few thousand signs
KEPT = 2000  # signs of a broken answer that are kept as evidence


@dataclass(frozen=True)
class Picture:
    """A picture as it is sent: its digest, and the JPEG in base64."""

    digest: str
    base64: bytes


Part = str | Picture


@dataclass(frozen=True)
class Usage:
    """What an item cost; `retries` are requests repeated after trouble or a broken answer."""

    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Return the cost of both."""
        return Usage(
            self.requests + other.requests,
            self.retries + other.retries,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )


class Memory(Protocol):
    """What was answered before to the very same request, and what items cost."""

    def recall(self, key: str) -> bytes | None: ...

    def keep(self, key: str, reply: bytes) -> None: ...

    def recall_picture(self, key: str) -> Pixels | None: ...

    def keep_picture(self, key: str, pixels: Pixels) -> None: ...

    def spent(self, item_id: str, usage: Usage) -> None: ...


def picture(pixels: Pixels, side: int) -> Picture:
    """Return (H, W, 3) uint8 as it is sent, its longer side at most `side` px."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    small = pixels if scale == 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # full colour
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), options)
    encoded = base64.b64encode(data.tobytes())
    return Picture(digest("picture", encoded.decode()), encoded)


async def ask(
    vlm: Vlm, parts: Sequence[Part], answer: type[Answer], *, item_id: str, seed: int, memory: Memory
) -> Answer:
    """Ask with text and pictures in order; an answer that does not fit is asked for again under another seed.

    A request that was answered before, to the letter, is not sent again. Raises Refusal "broken-answer", with the last
    answer as evidence, after `vlm.tries`; EngineFailure where no server answers.
    """
    trouble = text = ""
    for tried in range(vlm.tries):
        reply = await _reply(vlm, parts, answer, item_id=item_id, seed=seed + tried, tried=tried, memory=memory)
        try:
            text, finished = _content(reply)
            if finished != "stop":
                raise ValueError(f"it stopped for {finished!r}")
            return answer.model_validate(json.loads(_unfenced(text), strict=False))
        except (ValueError, ValidationError) as error:
            trouble = _first_line(error)
    raise Refusal("broken-answer", f"no answer fits {answer.__name__}: {trouble}", answer=text[:KEPT], tries=vlm.tries)


async def _reply(
    vlm: Vlm, parts: Sequence[Part], answer: type[Record], *, item_id: str, seed: int, tried: int, memory: Memory
) -> dict[str, Any]:
    """Return the parsed reply to one request, from memory where it was given before."""
    asked = _asked(vlm, seed, tried)
    shown = [part if isinstance(part, str) else part.digest for part in parts]
    key = digest("request", vlm.revision, asked, _format(answer).digest, shown)
    known = memory.recall(key)
    if known is not None:
        return _parsed(known)
    sent = await post(vlm, "chat/completions", lambda: _body(asked, _format(answer), parts), MOST_BYTES)
    if len(sent.data) > MOST_BYTES:
        memory.spent(item_id, Usage(1, sent.retries + (tried > 0)))
        begun = sent.data[:KEPT].decode(errors="replace")
        return {"choices": [{"message": {"content": begun}, "finish_reason": "length"}]}
    reply = _parsed(sent.data)
    used = reply["usage"] if isinstance(reply.get("usage"), dict) else {}
    tokens = [used.get(name) for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (count if isinstance(count, int) else 0 for count in tokens)
    memory.spent(item_id, Usage(1, sent.retries + (tried > 0), tokens_in, tokens_out))
    memory.keep(key, sent.data)
    return reply


def _asked(vlm: Vlm, seed: int, tried: int) -> dict[str, Any]:
    return {
        "model": vlm.model,
        "temperature": max(vlm.temperature, min(0.3 * tried, 0.9)),  # at 0 another seed would change nothing
        "max_tokens": vlm.max_tokens,
        "seed": seed,
    }


@dataclass(frozen=True)
class Format:
    """The form that an answer must have, as it is sent, made once: it is most of a request's words."""

    digest: str
    json: bytes


@cache
def _format(answer: type[Record]) -> Format:
    schema = {"name": answer.__name__, "schema": answer.model_json_schema(), "strict": True}
    form = {"type": "json_schema", "json_schema": schema}
    return Format(digest("format", form), json.dumps(form).encode())


def _body(asked: dict[str, Any], form: Format, parts: Sequence[Part]) -> bytes:
    """Return the request's JSON, pictures put in as they are: escaping them anew would cost most of it."""
    begun = json.dumps(asked)[:-1].encode()
    pieces = [begun, b',"response_format":', form.json, b',"messages":[{"role":"user","content":[']
    for part in parts:
        if isinstance(part, str):
            pieces += json.dumps({"type": "text", "text": part}).encode(), b","
        else:
            pieces += b'{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,', part.base64, b'"}},'
    pieces[-1] = pieces[-1].removesuffix(b",")
    return b"".join([*pieces, b"]}]}"])


def _parsed(data: bytes) -> dict[str, Any]:
    """Return a reply of the chat protocol. Raises EngineFailure where it is none: another thing answers there."""
    try:
        reply = json.loads(data)
        _ = reply["choices"][0]["message"]["content"], reply["choices"][0]["finish_reason"]
    except (ValueError, KeyError, IndexError, TypeError):
        said = " ".join(data[:100].decode(errors="replace").split())
        raise EngineFailure(
            f"what answers at the endpoint speaks another protocol than OpenAI's chat ({said!r}); mend the setting "
            "'endpoints'"
        ) from None
    return dict(reply)


def _content(reply: dict[str, Any]) -> tuple[str, str]:
    """Return the text of a reply, and why it ended. Raises ValueError where it has no text."""
    choice = reply["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str):
        raise ValueError("it is empty")
    return text, str(choice["finish_reason"])


def _unfenced(text: str) -> str:
    """Return an answer without the code fence that some models put about it."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removeprefix("```json").removeprefix("```").removesuffix("```")
    return text


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(place) for place in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error)
