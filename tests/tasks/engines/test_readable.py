import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Category, Photo, Pixels
from tasks.engines.readable import readings, text_distance

WORDS = st.text(alphabet="abcdé 12", max_size=12)


@settings(deadline=None, max_examples=40)
@given(one=WORDS, other=WORDS, third=WORDS)
def test_the_distance_is_one(one: str, other: str, third: str) -> None:
    """A share of the longer text: 0 for what reads the same, the same both ways, at most 1."""
    assert text_distance(one, one) == 0
    assert text_distance(one, other) == text_distance(other, one)
    assert 0 <= text_distance(one, other) <= 1

    def signs(a: str, b: str) -> float:
        longest = max(len(" ".join(a.split())), len(" ".join(b.split())), 1)
        return text_distance(a, b) * longest

    assert signs(one, third) <= signs(one, other) + signs(other, third) + 1e-9


def test_a_sign_that_was_changed_counts_once() -> None:
    assert text_distance("NOVA", "nova ") == 0
    assert text_distance("NOVA", "NAVA") == 0.25
    assert text_distance("NOVA", "") == 1
    assert text_distance("kitten", "sitting") == 3 / 7


def lettered(*lines: tuple[str, int]) -> Pixels:
    pixels = np.full((256, 256, 3), 235, np.uint8)
    for text, height in lines:
        cv2.putText(pixels, text, (40, height), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2, cv2.LINE_AA)
    return pixels


def mask_at(top: int, bottom: int) -> np.ndarray:
    mask = np.zeros((256, 256), bool)
    mask[top:bottom, 40:200] = True
    return mask


def test_the_text_at_the_mask_is_read_before_and_after() -> None:
    target = Photo("readable", lettered(("NORTH", 70), ("COFFEE", 180)))
    input = lettered(("NORTH", 70), ("SILVER", 180))
    found = readings(target, input, mask_at(155, 190), Category.OBJECT_DETAIL)
    assert found == ("COFFEE", "SILVER")
    assert readings(target, input, mask_at(45, 80), Category.TEXT) == ("NORTH", "NORTH")


def test_where_there_is_no_text_nothing_is_read_unless_there_should_be() -> None:
    target = Photo("unreadable", lettered(("NORTH", 70)))
    plain = lettered(("NORTH", 70))
    assert readings(target, plain, mask_at(155, 190), Category.PATTERN) is None
    assert readings(target, plain, mask_at(155, 190), Category.TEXT) == ("", "")
