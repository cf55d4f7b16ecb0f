"""Reads the text in a photo, with the weights that come inside the OCR package."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np

from schemas.records import Photo, Pixels, Point
from tasks.engines.foreground import crop, foreground_once, object_box
from tasks.engines.once import once_a_photo

SHORT_SIDE = 736  # px: the detector looks at pictures of this size
SMALL_OBJECT = 0.4  # of the photo: a smaller product is looked at once more by itself, its print enlarged


@dataclass(frozen=True)
class TextLine:
    """One line of text: what it says, its four corners (relative, clockwise from its top left), confidence 0..1."""

    text: str
    polygon: tuple[Point, ...]
    confidence: float


def read_text(pixels: Pixels) -> list[TextLine]:
    """Return the lines of text in `pixels` ((H, W, 3) uint8 RGB), surest first.

    What the recogniser merely imagines in round or striped things is left out: a line has at least two different
    letters or digits, and a confidence of 0.75 if it has two, 0.6 if it has more.
    """
    lines = [line for line in _look(pixels) if _believable(line)]
    return sorted(lines, key=lambda line: (-line.confidence, line.polygon))


def _text_of(photo: Photo) -> list[TextLine]:
    """Return the lines in a photo, surest first, its product looked at by itself where that is small."""
    left, top, right, bottom = box = object_box(foreground_once(photo))
    whole = read_text(photo.pixels)
    if (right - left) * (bottom - top) > SMALL_OBJECT:
        return whole
    part = np.ascontiguousarray(crop(photo.pixels, box))
    closer = [
        replace(line, polygon=tuple((left + x * (right - left), top + y * (bottom - top)) for x, y in line.polygon))
        for line in read_text(part)
    ]
    kept: list[TextLine] = []
    for line in sorted([*closer, *whole], key=lambda line: (-line.confidence, line.polygon)):
        if not any(_overlap(line, other) for other in kept):
            kept.append(line)
    return kept


text_once = once_a_photo(_text_of)  # a photo's text, read once


def _look(pixels: Pixels) -> list[TextLine]:
    height, width = pixels.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    scaled = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    result, _ = _engine()(np.ascontiguousarray(scaled[:, :, ::-1]))
    return [
        TextLine(
            text=text.strip(),
            polygon=tuple((min(max(x / size[0], 0.0), 1.0), min(max(y / size[1], 0.0), 1.0)) for x, y in corners),
            confidence=float(confidence),
        )
        for corners, text, confidence in result or []
    ]


@cache
def _engine() -> Any:
    """Return the reader, one for all threads: its sessions are thread-safe and a call leaves no state behind."""
    from rapidocr_onnxruntime import RapidOCR

    # A limit of 32 stops the detector from scaling by itself; more threads would only fight with the other workers.
    return RapidOCR(det_limit_side_len=32, text_score=0.0, intra_op_num_threads=1, inter_op_num_threads=1)


def _believable(line: TextLine) -> bool:
    signs = [sign for sign in line.text if sign.isalnum()]
    return len(set(signs)) >= 2 and line.confidence >= (0.75 if len(signs) == 2 else 0.6)


def _overlap(one: TextLine, other: TextLine) -> bool:
    (left, top), (right, bottom) = np.min(one.polygon, 0), np.max(one.polygon, 0)
    (other_left, other_top), (other_right, other_bottom) = np.min(other.polygon, 0), np.max(other.polygon, 0)
    return bool(left < other_right and other_left < right and top < other_bottom and other_top < bottom)
