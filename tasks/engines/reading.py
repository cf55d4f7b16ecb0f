"""What two photos say at one place: products of one make and colour often differ in nothing but their words."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tasks.engines.correspond import Correspondences, transfer
from tasks.engines.ocr import TextLine

SURE = 0.8  # confidence from which a reading counts
SURE_OF_DIGITS = 0.95  # and from which a single digit does
LEAST_SIGNS = 4  # letters and digits: shorter readings are often pieces of longer ones
UNLIKE, ALIKE = 0.6, 0.8  # similarity of two texts: below, they differ; from, they are one, misread


def contradiction(
    target: Sequence[TextLine], reference: Sequence[TextLine], c: Correspondences
) -> tuple[str, str] | None:
    """Return what target and reference surely say at one place where they differ; None where they differ nowhere.

    A text that the reference says elsewhere is no contradiction: it may have been looked for at the wrong place.
    """
    here = [line for line in target if line.confidence >= SURE and len(_signs(line)) >= LEAST_SIGNS]
    there = [line for line in reference if line.confidence >= SURE and len(_signs(line)) >= LEAST_SIGNS]
    for line in here:
        if not there or max(_similarity(line, other) for other in there) < ALIKE:
            place, _ = transfer(c, np.asarray(line.polygon, dtype=np.float32))
            at_place = [other for other in there if _meet(place, np.asarray(other.polygon))]
            closest = max(at_place, key=lambda other: _similarity(line, other), default=None)
            if closest is not None and _similarity(line, closest) < UNLIKE:
                return line.text, closest.text
    said_there = {_signs(other) for other in there}
    for line, other in product([line for line in here if _signs(line) not in said_there], there):
        place, _ = transfer(c, np.asarray(line.polygon, dtype=np.float32))
        if _numbers_differ(line, other) and _meet(place, np.asarray(other.polygon)):
            return line.text, other.text
    return None


def _signs(line: TextLine) -> str:
    return "".join(sign for sign in line.text.casefold() if sign.isalnum())


def _similarity(one: TextLine, other: TextLine) -> float:
    return SequenceMatcher(None, _signs(one), _signs(other), autojunk=False).ratio()


def _numbers_differ(one: TextLine, other: TextLine) -> bool:
    """Tell whether two texts differ in their digits alone: 250 ml and 500 ml."""
    first, second = _signs(one), _signs(other)
    if first == second or len(first) != len(second) or min(one.confidence, other.confidence) < SURE_OF_DIGITS:
        return False
    return all(a == b or (a.isdigit() and b.isdigit()) for a, b in zip(first, second, strict=True))


def _meet(one: NDArray[np.float32], other: NDArray[np.float64]) -> bool:
    """Tell whether two quadrilaterals (4, 2) lie at one place and are of one size, as far as two lines of text go."""
    (wide, high), (other_wide, other_high) = _size(one), _size(other)
    if not np.isfinite(one).all() or max(high, other_high) > 2 * min(high, other_high):
        return False
    across, down = np.abs(one.mean(axis=0) - other.mean(axis=0))
    return bool(down < 0.5 * max(high, other_high) and across < 0.5 * max(wide, other_wide))


def _size(corners: NDArray[np.floating]) -> tuple[float, float]:
    """Return how wide and high a quadrilateral is, its corners clockwise from the upper left."""
    top, right, bottom, left = (
        float(np.linalg.norm(corners[(k + 1) % 4] - corners[k])) for k in range(4)
    )  # fmt: skip
    return (top + bottom) / 2, (left + right) / 2
