"""A draft made true to a reference, by a backbone that has learnt to.

The masked region is looked at closely, as in training: a crop round it, beside a crop of the reference that shows the
same. What comes out is pasted back through a soft mask, so that nothing else of the draft changes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.ids import sha256, stream
from schemas.records import Mask, Photo, Pixels
from schemas.training import Data, Refine
from tasks.engines.change import paste_back
from tasks.photos import bucket
from training.backbones import Backbone
from training.flow import sample, schedule
from training.focus import Box, all_of, around, beside, cut, focus
from training.places import find_place


def refine(
    backbone: Backbone,
    settings: Refine,
    data: Data,
    seed: int,
    draft: Pixels,
    reference: Pixels,
    instruction: str,
    mask: Mask | None = None,
    *,
    blind: bool = False,
) -> Pixels:
    """Return the draft (H, W, 3) refined; beyond the feather of the mask (H, W) it is the draft pixel by pixel.

    Without a mask, or with an empty one, the whole picture is refined. What the backbone sees is a crop round the mask,
    of the size that `data` says, beside the reference as it says; one that was trained `blind` does not see that. The
    same arguments give the same picture.
    """
    height, width = draft.shape[:2]
    size = bucket(width, height, data.size)
    thing = None if mask is None else around(mask)
    if mask is None or thing is None:
        crop, place = all_of(width, height, size[0] / size[1]), None
    else:
        crop = focus(thing, (width, height), size, settings.margin, (0, 0))
        place = None if data.reference == "whole" else find_place(_photo(draft), _photo(reference), mask)
    shown = _tensor(cut(draft, crop, size))
    told = _tensor(beside(reference, place, crop, thing, (width, height), size, data.reference == "aligned"))
    refined = _pixels(_sampled(backbone, settings, seed, shown, None if blind else told, instruction))
    edited = _put(draft, refined, crop)
    return edited if mask is None or not mask.any() else paste_back(draft, edited, mask, settings.feather)


def device() -> str:
    """Return where to compute: on a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.no_grad()
def _sampled(
    backbone: Backbone, settings: Refine, seed: int, draft: Tensor, reference: Tensor | None, instruction: str
) -> Tensor:
    device = next(backbone.transformer.parameters()).device
    pictures = [one.to(device) for one in (draft, reference) if one is not None]
    text = backbone.prompt([instruction], pictures)
    input, beside = backbone.encode(pictures[0]), None if reference is None else backbone.encode(pictures[1])
    random = torch.Generator().manual_seed(int(stream(seed, "refine").integers(2**63)))
    noise = torch.randn(input.shape, generator=random).to(device)  # drawn on the CPU: the same whatever the device
    latents = sample(
        lambda x, sigma: backbone.velocity(x, input, beside, text, sigma),
        noise,
        schedule(settings.steps, settings.shift),
    )
    return backbone.decode(latents)


def _photo(pixels: Pixels) -> Photo:
    return Photo(sha256(pixels.tobytes()), pixels)


def _put(draft: Pixels, refined: Pixels, crop: Box) -> Pixels:
    """Return the draft with a crop of it replaced; what of the crop lies beyond the draft is left out."""
    left, top = round(crop.left), round(crop.top)
    sides = max(1, round(crop.width)), max(1, round(crop.height))
    fitted = cut(refined, Box(0, 0, refined.shape[1], refined.shape[0]), sides)
    height, width = draft.shape[:2]
    edited = draft.copy()
    rows = slice(max(0, top), min(height, top + sides[1]))
    columns = slice(max(0, left), min(width, left + sides[0]))
    edited[rows, columns] = fitted[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return edited


def _tensor(pixels: Pixels) -> Tensor:
    """Return a picture as a batch of one, float32 (1, 3, H, W), 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255


def _pixels(picture: Tensor) -> Pixels:
    """Return 8-bit pixels of a batch of one; what is not a number is black."""
    values: NDArray[np.float32] = picture[0].permute(1, 2, 0).cpu().numpy()
    return np.asarray(np.rint(np.nan_to_num(values, nan=0.0) * 255), np.uint8)
