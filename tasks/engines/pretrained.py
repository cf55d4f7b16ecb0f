"""Embedders whose weights one has at hand: CLIP and DINO, folders as the hub lays them out, read from disk only."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from schemas.errors import SettingsError
from schemas.records import Mask, Pixels

MARGIN = 0.25  # about the edited place, of its longer side: a piece of print says little without its surroundings
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, where the folder names no others


class Embedder:
    """A vision model of transformers, and how its pictures are made."""

    def __init__(self, folder: Path) -> None:
        """Load from `folder` (config.json, model.safetensors and, if there is one, preprocessor_config.json).

        Raises SettingsError where it holds no such model.
        """
        from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            self._is_clip = config.model_type in ("clip", "clip_vision_model")
            kind: Any = CLIPVisionModelWithProjection if self._is_clip else AutoModel
            self._model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
            self._side = int(self._model.config.image_size)
        except Exception as error:  # whatever transformers raises, the folder is not what it should be
            first = " ".join(str(error).split())[:200]
            raise SettingsError(
                f"settings score.clip, score.dino: {folder} holds no vision model in safetensors ({first}); name the "
                "folder of one, or leave the setting out"
            ) from None
        described = folder / "preprocessor_config.json"
        told = json.loads(described.read_text()) if described.is_file() else {}
        self._mean = np.float32(told.get("image_mean", MEAN))
        self._std = np.float32(told.get("image_std", STD))

    def likeness(self, first: Pixels, second: Pixels, mask: Mask) -> float:
        """Return the cosine (-1..1) of two photos' embeddings about a mask: CLIP-I, or DINO-I of the class token."""
        import torch

        box = square_about(mask)
        pictures = [cv2.resize(np.ascontiguousarray(one[box]), (self._side, self._side), interpolation=cv2.INTER_AREA)
                    for one in (first, second)]  # fmt: skip
        tensor = torch.from_numpy((np.stack(pictures).astype(np.float32) / 255 - self._mean) / self._std)
        with torch.inference_mode():
            answer = self._model(pixel_values=tensor.permute(0, 3, 1, 2).contiguous())  # (2, 3, side, side)
        vectors = answer.image_embeds if self._is_clip else answer.last_hidden_state[:, 0]  # (2, D)
        return float(torch.nn.functional.cosine_similarity(vectors[0].float(), vectors[1].float(), dim=0))


def square_about(mask: Mask) -> tuple[slice, slice]:
    """Return the square about a mask's box with a margin, moved into the photo, as far as the photo goes."""
    height, width = mask.shape
    left, top, across, down = cv2.boundingRect(mask.astype(np.uint8))
    side = round((1 + 2 * MARGIN) * max(across, down))
    return _span(top + down / 2, side, height), _span(left + across / 2, side, width)


def _span(middle: float, side: int, limit: int) -> slice:
    start = max(0, min(round(middle - side / 2), limit - side))
    return slice(start, min(limit, start + side))


@cache
def load_embedder(folder: Path) -> Embedder:
    """Return the embedder in a folder, loaded once a process."""
    return Embedder(folder)
