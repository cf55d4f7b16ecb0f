"""Sheets of pictures to look at: what was held out, row by row, and groups of samples with their rewards."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from schemas.records import Pixels
from training.validate import Tried, as_pixels

SIDE = 128  # px of a picture in a sheet
HEADING = 18  # px
TITLES = ("input", "reference", "refined", "target")


def draw_sheet(samples: Sequence[Tried]) -> Pixels | None:
    """Return a sheet, a row a sample: input, reference, refined, target; None of no samples."""
    if not samples:
        return None
    rows = [np.hstack([_fitted(picture) for picture in one.pictures]) for one in samples]
    return np.vstack([_headings(TITLES), *rows])


def draw_groups(draft: Tensor, reference: Tensor, samples: Tensor, truth: Tensor, rewards: Tensor, most: int) -> Pixels:
    """Return a sheet, a row a prompt: draft, reference, its samples with their rewards, truth; so many rows at most.

    Pictures (B, 3, H, W), 0..1, samples (B, G, 3, H, W), rewards (B, G).
    """
    rows = []
    for one, beside, group, true, worth in zip(draft, reference, samples, truth, rewards, strict=True):
        pictures = [as_pixels(each[None])[0] for each in (one, beside, *group, true)]
        titles = ("draft", "reference", *(f"{float(each):.4f}" for each in worth), "truth")
        rows += [_headings(titles), np.hstack([_fitted(picture) for picture in pictures])]
    return np.vstack(rows[: 2 * max(1, most)])


def _headings(titles: Sequence[str]) -> Pixels:
    heading = Image.new("RGB", (len(titles) * SIDE, HEADING), "white")
    for number, title in enumerate(titles):
        ImageDraw.Draw(heading).text((number * SIDE + 4, 3), title, fill="black")
    return np.asarray(heading, np.uint8)


def _fitted(picture: Pixels) -> Pixels:
    """Return a picture brought into a square of SIDE px, on white."""
    scale = SIDE / max(picture.shape[:2])
    small = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    square[: small.shape[0], : small.shape[1]] = small[:SIDE, :SIDE]
    return square
