"""How an editor that paints whole pictures is asked: all of the draft or a crop round the mask, pasted back or not."""

import cv2
import numpy as np

from benchmark.cases import Problem
from benchmark.models.blend import laid
from schemas.benchmark import Manner
from schemas.records import Pixels
from tasks.photos import bucket
from training.focus import Box, all_of, around, cut, focus


def said(manner: Manner) -> str:
    """Return in words how a model is asked: it goes into the run's record."""
    return f"{'crop' if manner.crop else 'whole'}, edit, {'paste back' if manner.paste else 'take as it is'}"


def sentence(manner: Manner, problem: Problem) -> str:
    """Return what a model is told."""
    return manner.prompt.replace("{instruction}", problem.instruction)


def shown(manner: Manner, problem: Problem) -> tuple[Pixels, Pixels]:
    """Return what a model is shown of the draft, and of the reference: the whole of it, in the same size."""
    size, box = _look(manner, problem)
    height, width = problem.reference.shape[:2]
    return cut(problem.input, box, size), cut(problem.reference, all_of(width, height, size[0] / size[1]), size)


def put_back(manner: Manner, problem: Problem, painted: Pixels) -> Pixels:
    """Return the draft with what was painted in its place, brought to its size first."""
    _, box = _look(manner, problem)
    width, height = round(box.width), round(box.height)
    smaller = painted.shape[0] > height
    fitted = cv2.resize(painted, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    edited, (left, top) = problem.input.copy(), (round(box.left), round(box.top))
    edited[top : top + height, left : left + width] = np.asarray(fitted, np.uint8)
    return laid(problem.input, edited, problem.mask) if manner.paste else edited


def _look(manner: Manner, problem: Problem) -> tuple[tuple[int, int], Box]:
    """Return the size (width, height) in which a draft is shown, and the box of it, in whole px within it."""
    height, width = problem.mask.shape
    size, thing = bucket(width, height, manner.size), around(problem.mask)
    if not manner.crop or thing is None:
        return size, Box(0, 0, width, height)
    box = focus(thing, (width, height), size, manner.margin, (0, 0))
    left, top = max(0, round(box.left)), max(0, round(box.top))
    return size, Box(left, top, min(width - left, round(box.width)), min(height - top, round(box.height)))
