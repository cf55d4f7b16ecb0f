"""What each place of a product bears: text, a logo, a pattern, a face, another part of its make, or nothing.

A small network of our own over EfficientNet's feature maps, which carry over from drawn to photographed things. Its
weights, parts.safetensors, are made by `training/parts.py` from rendered products, which know the answer to the pixel.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Category, Photo, Pixels
from tasks.engines.efficientnet import Maps, feature_maps
from tasks.engines.foreground import Box, crop, foreground_once, object_box
from tasks.engines.once import once_a_photo

if TYPE_CHECKING:
    from torch import Tensor

Weights = dict[str, "Tensor"]

WEIGHTS = Path(__file__).with_suffix(".safetensors")
SEEN_AT = 448  # px on the longer side of the object's crop
BACKGROUND, PLAIN = 0, 1
CLASSES: dict[Category, int] = {
    Category.PATTERN: 2,
    Category.OBJECT_DETAIL: 3,
    Category.FACE: 4,
    Category.LOGO: 5,
    Category.TEXT: 6,
}
COUNT = 7  # of classes
CHANNELS = {"fine": 40, "middle": 112, "deep": 1280}  # of EfficientNet's maps, each brought to NARROW
NARROW, WIDE = 32, 48


@dataclass(frozen=True)
class Parts:
    """What each cell of a photo's part bears: `box` is the part, `likely` (h, w, 7) float32 sums to 1 over classes."""

    box: Box
    likely: NDArray[np.float32]


def find_parts(pixels: Pixels, box: Box) -> Parts:
    """Return what each cell of a box of the photo bears."""
    import torch

    maps = feature_maps(np.ascontiguousarray(crop(pixels, box)), SEEN_AT)
    with torch.inference_mode():
        likely = logits(_weights(), *as_tensors([maps]))[0].softmax(dim=0)
    return Parts(box, likely.permute(1, 2, 0).numpy())


def _parts_of(photo: Photo) -> Parts:
    return find_parts(photo.pixels, object_box(foreground_once(photo)))


parts_once = once_a_photo(_parts_of)  # what a photo's product bears, found once


def likely_of(parts: Parts, one: int, width: int, height: int, beyond: float = 0.0) -> NDArray[np.float32]:
    """Return the probability of a class over the whole photo, (height, width) float32; `beyond` outside the box."""
    whole = np.full((height, width), beyond, dtype=np.float32)
    within = crop(whole, parts.box)
    plane = np.ascontiguousarray(parts.likely[..., one])
    within[...] = np.clip(cv2.resize(plane, within.shape[1::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    return whole


def as_tensors(maps: list[Maps]) -> "tuple[Tensor, Tensor, Tensor]":
    """Return the maps of N photos of one size, (N, C, h, w) each: fine, middle, and the deep one's square root."""
    import torch

    stacked = [np.stack([getattr(one, name) for one in maps]).astype(np.float32) for name in CHANNELS]
    fine, middle, deep = (torch.from_numpy(array).permute(0, 3, 1, 2).contiguous() for array in stacked)
    return fine, middle, deep.clamp(min=0).sqrt()  # the root tames channels that answer hugely


def logits(weights: Weights, fine: "Tensor", middle: "Tensor", deep: "Tensor") -> "Tensor":
    """Return the classes' logits, (N, 7, H, W), at the stride of the fine map (8 px)."""
    import torch
    from torch.nn.functional import conv2d, interpolate, silu

    def convolved(x: "Tensor", name: str, dilation: int = 1) -> "Tensor":
        kernel = weights[f"{name}.weight"]
        return conv2d(x, kernel, weights[f"{name}.bias"], padding=kernel.shape[-1] // 2 * dilation, dilation=dilation)

    def as_fine(x: "Tensor") -> "Tensor":
        return interpolate(x, size=fine.shape[2:], mode="bilinear", align_corners=False)

    narrow = (convolved(fine, "fine"), as_fine(convolved(middle, "middle")), as_fine(convolved(deep, "deep")))
    x = silu(convolved(torch.cat(narrow, dim=1), "join"))
    x = x + silu(convolved(x, "around", dilation=2))
    x = x + silu(convolved(x, "again"))
    return convolved(x, "answer")


def layers() -> dict[str, tuple[int, int, int]]:
    """Return each layer's channels out, channels in, and the side of its kernel."""
    narrow = {name: (NARROW, channels, 1) for name, channels in CHANNELS.items()}
    wide = {"around": (WIDE, WIDE, 3), "again": (WIDE, WIDE, 3), "answer": (COUNT, WIDE, 1)}
    return {**narrow, "join": (WIDE, len(CHANNELS) * NARROW, 3), **wide}


@cache
def _weights() -> Weights:
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}
