"""Reads the text in a photo, with the weights that come inside the OCR package."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np

from schemas.records import Photo, Pixels, Point
from tasks.engines.foreground import crop, foreground_once, object_box
from tasks.engines.once import once_a_photo

SIDE = 640  # px: the detector looks at as much area as a square of this side has
MOST_ENLARGED = 3.0
SMALL_OBJECT = 0.4  # of the photo: a smaller product is looked at by itself, its print enlarged


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
    """Return the lines in a photo, surest first; of a small product only those on it."""
    left, top, right, bottom = box = object_box(foreground_once(photo))
    if (right - left) * (bottom - top) > SMALL_OBJECT:
        return read_text(photo.pixels)
    return [
        replace(line, polygon=tuple((left + x * (right - left), top + y * (bottom - top)) for x, y in line.polygon))
        for line in read_text(crop(photo.pixels, box))
    ]


def _text_about(photo: Photo) -> list[TextLine]:
    """Return the lines in a photo, surest first, whatever they stand on."""
    return read_text(photo.pixels)


text_once = once_a_photo(_text_of)  # the text on a photo's product, read once
text_about_once = once_a_photo(_text_about)  # and that of the whole photo


def _look(pixels: Pixels) -> list[TextLine]:
    height, width = pixels.shape[:2]
    scale = min(MOST_ENLARGED, SIDE / (height * width) ** 0.5)
    # the detector's maps are a 32nd as large, and it would round the sides by itself
    size = (max(1, round(width * scale / 32)) * 32, max(1, round(height * scale / 32)) * 32)
    scaled = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
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
