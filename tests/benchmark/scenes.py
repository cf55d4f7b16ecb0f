"""Cases of known geometry: one surface photographed twice, damaged in one photo."""

import cv2
import numpy as np

from benchmark.cases import Case, Problem
from schemas.ids import stream
from schemas.records import Category, Mask, Pixels, Task
from tasks.engines.change import paste_back
from tests.tasks.engines.scenes import placed, texture, turned

DAMAGES = ("blurred", "noisy", "recoloured", "moved")


def region(left: int = 210, top: int = 220, side: int = 90) -> Mask:
    """A square in the middle of a photo of 512 px."""
    mask = np.zeros((512, 512), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def photographed(seed: int = 3) -> tuple[Pixels, Pixels]:
    """A surface, and the same surface from elsewhere in another light."""
    surface = np.asarray(cv2.GaussianBlur(texture(seed), (0, 0), 1), np.uint8)
    there = placed(surface, turned(14, 1.08)) * np.array((0.65, 0.8, 0.9)) + 25  # another light
    return placed(surface, turned(0, 1.0)), np.asarray(np.rint(there), np.uint8)


def damaged(target: Pixels, mask: Mask, kind: str, share: float) -> Pixels:
    """A photo spoilt within a mask, by a share (0..1) of the whole damage."""
    match kind:
        case "blurred":
            spoilt = cv2.GaussianBlur(target, (0, 0), 8)
        case "noisy":
            spoilt = stream(0, "noise").integers(0, 256, target.shape, dtype=np.uint8)
        case "recoloured":
            spoilt = target[..., ::-1] // 2
        case _:
            spoilt = np.roll(target, (23, 17), axis=(0, 1))
    mixed = target + share * (np.asarray(spoilt, np.float32) - target)
    return paste_back(target, np.rint(mixed).astype(np.uint8), mask, 0)


def case(target: Pixels, reference: Pixels, mask: Mask, kind: str = "noisy", share: float = 1.0) -> Case:
    """A case of a damage."""
    input = damaged(target, mask, kind, share)
    return Case(Problem("0" * 32, input, reference, mask, "Mend it.", Task.REF_FIX, Category.PATTERN), target)
