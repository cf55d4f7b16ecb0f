"""The editor `images-api`: a model behind servers that speak OpenAI's images API, as vllm-omni does."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

from schemas.ids import stream
from schemas.records import EngineFailure, Pixels, Refusal
from schemas.settings import ImagesApi
from tasks.engines.editor import EditRequest
from tasks.engines.endpoints import Reply, all_answers, post

PATH = "images/edits"
FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 2**24  # of an answer: the largest bucket has 5 million


@dataclass(frozen=True)
class ImagesApiEditor:
    """An `Editor` that sends each photo with its sentence to one of the servers, all of a batch at once.

    What no server answers, or answers with something that is no image, is an `EngineFailure`.
    """

    settings: ImagesApi

    def edit(self, requests: Sequence[EditRequest]) -> "list[Pixels | Refusal | EngineFailure]":
        """Return for each request the whole edited photo, uint8 (H, W, 3), in the size that the model paints."""
        replies = all_answers([self._ask(request) for request in requests])
        return [_outcome(reply, self.settings) for reply in replies]

    async def _ask(self, request: EditRequest) -> Reply:
        png = io.BytesIO()
        Image.fromarray(request.target.pixels).save(png, "PNG", compress_level=1)
        fields = _fields(request, self.settings)

        def form() -> aiohttp.FormData:
            data = aiohttp.FormData(fields)
            data.add_field("image", png.getvalue(), filename="target.png", content_type="image/png")
            return data

        return await post(self.settings, PATH, form)


def _fields(request: EditRequest, settings: ImagesApi) -> dict[str, str]:
    height, width = request.target.pixels.shape[:2]
    # Qwen's models guide only where a negative prompt is given as well; FLUX's have their guidance built in
    qwen = "qwen" in settings.model.lower()
    scale = {"true_cfg_scale": str(settings.guidance), "negative_prompt": " "}
    return {
        "model": settings.model,
        "prompt": request.instruction.sentence,
        "size": f"{width}x{height}",
        "n": "1",
        "response_format": "b64_json",
        "seed": str(stream(request.seed, request.edit_id, "images-api").integers(2**31)),
        "num_inference_steps": str(settings.steps),
        **(scale if qwen else {"guidance_scale": str(settings.guidance)}),
    }


def _outcome(reply: Reply | Refusal | EngineFailure, settings: ImagesApi) -> "Pixels | Refusal | EngineFailure":
    if not isinstance(reply, Reply):
        return reply
    try:
        return _decoded(reply.data)
    except ValueError as error:
        return EngineFailure(f"{settings.model}: its server answered with no image ({error}); look at its log")


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
