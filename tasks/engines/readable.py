"""What can be read at an edited place, before and after the edit, and by how much that differs."""

from collections.abc import Sequence

import cv2
import numpy as np

from schemas.records import Category, Mask, Photo, Pixels, Point
from tasks.engines.foreground import Box, crop
from tasks.engines.ocr import TextLine, read_text, text_about_once

MARGIN = 0.35  # about the mask's box, of its longer side: a line is read as a whole or not at all
LEAST_MARGIN = 12  # px
LETTERED = (Category.TEXT, Category.LOGO)  # there text may be read that the reader overlooks in the whole photo


def readings(target: Photo, input: Pixels, mask: Mask, category: Category) -> tuple[str, str] | None:
    """Return what is read at a mask (H, W) in the target and in the input (H, W, 3), possibly nothing ("").

    None where the place bears no text: reading takes longer than all other scores, so only texts and logos are read,
    and places where the reader finds a line in the target as a whole.
    """
    if category not in LETTERED and not _at(text_about_once(target), mask):
        return None
    box = _about(mask)
    place = crop(mask, box)
    before, after = (_in_order(_at(read_text(np.ascontiguousarray(crop(one, box))), place))
                     for one in (target.pixels, input))  # fmt: skip
    return before, after


def text_distance(before: str, after: str) -> float:
    """Return the share of signs to be changed between two texts (Levenshtein's distance / the longer's length, 0..1).

    Upper and lower case are one, and so is all space.
    """
    one, other = (" ".join(text.casefold().split()) for text in (before, after))
    row = list(range(len(other) + 1))
    for number, sign in enumerate(one, start=1):
        above, row[0] = row[0], number
        for place, wanted in enumerate(other, start=1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (sign != wanted))
    return row[-1] / max(1, len(one), len(other))


def _about(mask: Mask) -> Box:
    height, width = mask.shape
    left, top, across, down = cv2.boundingRect(mask.astype(np.uint8))
    margin = max(LEAST_MARGIN, MARGIN * max(across, down))
    return (
        max(0.0, (left - margin) / width),
        max(0.0, (top - margin) / height),
        min(1.0, (left + across + margin) / width),
        min(1.0, (top + down + margin) / height),
    )


def _at(lines: Sequence[TextLine], mask: Mask) -> list[TextLine]:
    """Return the lines that touch a mask."""
    return [line for line in lines if (_outline(line.polygon, mask.shape) & mask).any()]


def _outline(polygon: Sequence[Point], shape: tuple[int, ...]) -> Mask:
    height, width = shape
    corners = np.round(np.asarray(polygon) * (width, height) - 0.5).astype(np.int32)
    return cv2.fillPoly(np.zeros((height, width), np.uint8), [corners], 1).astype(bool)


def _in_order(lines: Sequence[TextLine]) -> str:
    """Return the text of lines from top to bottom, and from left to right where they stand side by side."""
    rest = sorted(lines, key=lambda line: (_middle(line)[1], line.polygon))
    rows: list[list[TextLine]] = []
    for line in rest:
        if rows and _middle(line)[1] - _middle(rows[-1][0])[1] < _height(rows[-1][0]) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return " ".join(line.text for row in rows for line in sorted(row, key=lambda line: _middle(line)[0]))


def _middle(line: TextLine) -> Point:
    return sum(x for x, _ in line.polygon) / 4, sum(y for _, y in line.polygon) / 4


def _height(line: TextLine) -> float:
    return max(y for _, y in line.polygon) - min(y for _, y in line.polygon)
