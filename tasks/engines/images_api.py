"""The editor `images-api`: a model behind servers that speak OpenAI's images API, as vllm-omni does."""

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

from schemas.ids import digest, sha256, stream
from schemas.records import EngineFailure, Pixels, Refusal
from schemas.settings import ImagesApi
from tasks.engines.chat import KEPT, Memory, Usage
from tasks.engines.editor import EditRequest
from tasks.engines.endpoints import all_answers, post

PATH = "images/edits"
FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 2**24  # of an answer: the largest bucket has 5 million


@dataclass(frozen=True)
class ImagesApiEditor:
    """An `Editor` that sends each photo with its sentence to one of the servers, all of a batch at once.

    What no server answers is an `EngineFailure`; an answer that is no image is asked for again under another seed, and
    then a `Refusal` "broken-answer". A request that was answered before, to the letter, is not sent again.
    """

    settings: ImagesApi
    memory: Memory

    def edit(self, requests: Sequence[EditRequest]) -> "list[Pixels | Refusal | EngineFailure]":
        """Return for each request the whole edited photo, uint8 (H, W, 3), in the size that the model paints."""
        return all_answers([self._edited(request, to_png(request.target.pixels)) for request in requests])

    async def _edited(self, request: EditRequest, png: bytes) -> Pixels:
        seed = int(stream(request.seed, request.edit_id, "images-api").integers(2**31))
        return await painted(
            self.settings, self.memory, request.edit_id, request.instruction.sentence, [png],
            request.target.pixels.shape, seed,
        )  # fmt: skip


async def painted(
    settings: ImagesApi,
    memory: Memory,
    item_id: str,
    sentence: str,
    pngs: Sequence[bytes],
    shape: tuple[int, ...],
    seed: int,
) -> Pixels:
    """Return what a server paints of pictures and a sentence, asked for in `shape` (H, W, 3). Raises Refusal."""
    trouble, said = "", b""
    for tried in range(settings.tries):
        fields = _fields(sentence, shape, settings, seed + tried)
        key = digest("image request", settings.revision, fields, *map(sha256, pngs))
        known = await asyncio.to_thread(memory.recall_picture, key)
        if known is not None:
            return known

        def form(fields: dict[str, str] = fields) -> aiohttp.FormData:
            data = aiohttp.FormData(fields)
            for png in pngs:
                data.add_field("image", png, filename="target.png", content_type="image/png")
            return data

        reply = await post(settings, PATH, form)
        memory.spent(item_id, Usage(1, reply.retries + (tried > 0)))
        try:
            pixels = await asyncio.to_thread(_decoded, reply.data)
        except ValueError as error:
            trouble, said = str(error), reply.data[:KEPT]
            continue
        await asyncio.to_thread(memory.keep_picture, key, pixels)
        return pixels
    raise Refusal(
        "broken-answer",
        f"{settings.model}: its server answered with no image: {trouble}",
        answer=said.decode(errors="replace"),
        tries=settings.tries,
    )


def to_png(pixels: Pixels) -> bytes:
    """Return (H, W, 3) as it is sent."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", compress_level=1)
    return data.getvalue()


def _fields(sentence: str, shape: tuple[int, ...], settings: ImagesApi, seed: int) -> dict[str, str]:
    height, width = shape[:2]
    # Qwen's models guide only where a negative prompt is given as well; FLUX's have their guidance built in
    qwen = "qwen" in settings.model.lower()
    scale = {"true_cfg_scale": str(settings.guidance), "negative_prompt": " "}
    return {
        "model": settings.model,
        "prompt": sentence,
        "size": f"{width}x{height}",
        "n": "1",
        "response_format": "b64_json",
        "seed": str(seed),
        "num_inference_steps": str(settings.steps),
        **(scale if qwen else {"guidance_scale": str(settings.guidance)}),
    }


def _decoded(data: bytes) -> Pixels:
    """Decode the image of an answer, uint8 (H, W, 3). Raises ValueError where there is none, or it is too large."""
    try:
        told: Any = json.loads(data)
        image_bytes = base64.b64decode(told["data"][0]["b64_json"], validate=True)
        with Image.open(io.BytesIO(image_bytes), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"it declares {width} x {height} px")
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders raise anything at all on broken files
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None
