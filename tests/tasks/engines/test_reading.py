import numpy as np
import pytest

from tasks.engines.correspond import Correspondences
from tasks.engines.ocr import TextLine
from tasks.engines.reading import contradiction


def line(text: str, x: float = 0.5, y: float = 0.5, confidence: float = 0.97, high: float = 0.06) -> TextLine:
    wide = 0.6 * high * len(text)
    left, right, top, bottom = x - wide / 2, x + wide / 2, y - high / 2, y + high / 2
    return TextLine(text, ((left, top), (right, top), (right, bottom), (left, bottom)), confidence)


def moved(right: float) -> Correspondences:
    """Return matches that move everything to the right."""
    points = np.stack(np.meshgrid(*[np.linspace(0.05, 0.95, 12)] * 2), axis=-1).reshape(-1, 2).astype(np.float32)
    ones = np.ones(len(points), np.float32)
    there = points + np.array([right, 0], np.float32)
    return Correspondences(points, there, ones, ones, ones > 0, ones, (500, 500), (500, 500))


@pytest.mark.parametrize(
    ("target", "reference"),
    [("HARBOUR", "LONDONER"), ("Golden Tea", "Nordic Cola"), ("250ml", "500ml"), ("est. 1965", "est. 2003")],
)
def test_two_texts_at_one_place_contradict_each_other(target: str, reference: str) -> None:
    assert contradiction([line(target)], [line(reference)], moved(0)) == (target, reference)
    assert contradiction([line(target)], [line(reference, x=0.6)], moved(0.1)) == (target, reference)


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        (line("HARBOUR"), line("HARBOUR")),
        (line("HARBOUR"), line("HARB0UR")),  # misread
        (line("HARBOUR"), line("LONDONER", confidence=0.7)),  # not surely read
        (line("No8"), line("tea")),  # too short to go by
        (line("HARBOUR"), line("LONDONER", y=0.8)),  # somewhere else
        (line("HARBOUR"), line("LONDONER", high=0.2)),  # of another size
        (line("250ml", confidence=0.9), line("500ml")),  # one misread digit
    ],
)
def test_what_may_be_one_text_is_no_contradiction(target: TextLine, reference: TextLine) -> None:
    assert contradiction([target], [reference], moved(0)) is None


def test_a_text_found_elsewhere_is_no_contradiction() -> None:
    there = [line("LONDONER"), line("HARBOUR", y=0.8)]
    assert contradiction([line("HARBOUR")], there, moved(0)) is None


def test_a_number_found_elsewhere_is_no_contradiction() -> None:
    there = [line("500ml"), line("250ml", y=0.8)]
    assert contradiction([line("250ml")], there, moved(0)) is None


def test_nothing_read_says_nothing() -> None:
    assert contradiction([], [line("HARBOUR")], moved(0)) is None
    assert contradiction([line("HARBOUR")], [], moved(0)) is None
