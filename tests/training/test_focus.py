"""Crops show what they should, and keep what holds before them."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.ids import stream
from training.focus import Box, Place, all_of, alongside, around, beside, cut, cut_mask, focus, holding, turned, whole

sides = st.integers(64, 700)
sizes = st.sampled_from([(64, 64), (96, 64), (64, 160), (512, 512)])
units = st.floats(0, 1)
shifts = st.floats(-1, 1)


@st.composite
def things(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    width, height = draw(sides), draw(sides)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = Box(left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top)))
    return box, (width, height)


def inside(inner: Box, outer: Box) -> bool:
    return (
        inner.left >= outer.left - 1e-6
        and inner.top >= outer.top - 1e-6
        and inner.left + inner.width <= outer.left + outer.width + 1e-6
        and inner.top + inner.height <= outer.top + outer.height + 1e-6
    )


@given(things(), sizes, st.floats(0, 2), shifts, shifts)
def test_a_focus_crop_lies_in_the_picture_and_holds_the_thing_where_it_can(
    thing: tuple[Box, tuple[int, int]], crop: tuple[int, int], margin: float, x: float, y: float
) -> None:
    box, size = thing
    found = focus(box, size, crop, margin, (x, y))
    assert inside(found, Box(0, 0, *size))
    assert found.width / found.height == pytest.approx(crop[0] / crop[1])
    if box.width <= found.width and box.height <= found.height:
        assert inside(box, found)


@given(things(), things(), sizes, st.floats(0, 2))
def test_the_reference_is_shown_whole_and_as_large_where_it_fits(
    thing: tuple[Box, tuple[int, int]], there: tuple[Box, tuple[int, int]], crop: tuple[int, int], margin: float
) -> None:
    (box, size), (place, other) = thing, there
    shown = focus(box, size, crop, margin, (0, 0))
    beside = alongside(shown, box, place, other)
    assert inside(place, beside)
    assert beside.width / beside.height == pytest.approx(crop[0] / crop[1])
    scale = np.sqrt(place.width * place.height / (box.width * box.height))
    if inside(beside, Box(0, 0, *other)) and beside.height < whole(*other, crop[0] / crop[1]).height - 1e-6:
        assert beside.height >= shown.height * scale - 1e-6
        if shown.height * scale >= place.height and shown.width * scale >= place.width:
            assert beside.height == pytest.approx(shown.height * scale)
    assert inside(place, holding(place, shown, other))


@given(sides, sides, sizes)
def test_all_of_a_picture_holds_it_and_whole_lies_within(width: int, height: int, crop: tuple[int, int]) -> None:
    picture, aspect = Box(0, 0, width, height), crop[0] / crop[1]
    assert inside(picture, all_of(width, height, aspect))
    assert inside(whole(width, height, aspect), picture)


@example(73, (512, 512), 0.0, 0.0, 0.0)  # a corner's share of the mask is less than 1 of 255
@given(st.integers(0, 1000), sizes, st.floats(0, 1.5), shifts, shifts)
def test_input_and_target_stay_equal_outside_the_mask(
    number: int, crop: tuple[int, int], margin: float, x: float, y: float
) -> None:
    random = stream(0, number)
    height, width = (int(side) for side in random.integers(64, 200, 2))
    target = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    cv2.circle(
        canvas := np.zeros((height, width), np.uint8), (width // 3, height // 2), int(random.integers(1, 30)), 1, -1
    )
    mask |= canvas > 0
    input = np.where(mask[..., None], 255 - target, target)
    thing = around(mask)
    assert thing is not None
    box = focus(thing, (width, height), crop, margin, (x, y))
    shown = cut_mask(mask, box, crop)
    differ = (cut(input, box, crop) != cut(target, box, crop)).any(axis=2)
    assert not (differ & ~shown).any()
    assert shown.any()


def test_a_crop_of_the_wanted_size_is_the_very_pixels() -> None:
    picture = stream(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    assert np.array_equal(cut(picture, Box(10, 4, 64, 64), (64, 64)), picture[4:68, 10:74])
    mask = picture[..., 0] > 128
    assert np.array_equal(cut_mask(mask, Box(10, 4, 64, 64), (64, 64)), mask[4:68, 10:74])


def test_beyond_its_edges_a_picture_goes_on_as_it_ends() -> None:
    picture = np.zeros((64, 32, 3), np.uint8)
    picture[:, 0], picture[:, -1] = 100, 200
    shown = cut(picture, all_of(32, 64, 1.0), (64, 64))
    assert (shown[:, :16] == 100).all()
    assert (shown[:, -16:] == 200).all()


def test_an_empty_mask_has_no_box() -> None:
    assert around(np.zeros((4, 4), bool)) is None
    assert around(np.eye(4, dtype=bool)) == Box(0, 0, 4, 4)


def scene() -> np.ndarray:
    coarse = stream(0, "scene").uniform(0, 255, (12, 16, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def test_a_reference_that_is_the_draft_is_turned_into_the_drafts_own_crop() -> None:
    picture, crop = scene(), Box(20, 10, 100, 75)
    same = Place(0, 0, 1, 1, True, (1, 0, 0, 0, 1, 0))
    found = turned(picture, same, crop, (160, 120), (96, 72))
    assert np.abs(found.astype(int) - cut(picture, crop, (96, 72))).mean() < 2


@given(
    right=units, down=units, angle=st.floats(0, 6.3), stretched=st.sampled_from([1, 3]), step=st.sampled_from([1.25, 4])
)
@example(right=0, down=0, angle=0, stretched=1, step=4)  # beyond the picture altogether
def test_what_a_crop_sees_of_a_turned_reference_does_not_depend_on_the_crop(
    right: float, down: float, angle: float, stretched: int, step: float
) -> None:
    picture = stream(0, "noise").integers(0, 256, (120, 160, 3), np.uint8)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([stretched, 1])
    offset = 0.5 - turn @ [0.5, 0.5]
    place = Place(0, 0, 1, 1, True, (*turn[0], offset[0], *turn[1], offset[1]))
    everything = turned(picture, place, Box(-320, -240, 800, 600), (160, 120), (round(800 / step), round(600 / step)))
    left, top = (4 * int(share * (side / step - edge) / 4) for share, side, edge in ((right, 800, 64), (down, 600, 48)))
    crop = Box(-320 + left * step, -240 + top * step, 64 * step, 48 * step)
    part = turned(picture, place, crop, (160, 120), (64, 48))
    apart = np.abs(everything[top : top + 48, left : left + 64].astype(int) - part)
    assert apart.max() <= 2 * stretched  # OpenCV rounds places to 1/32 px


def test_a_turned_and_larger_reference_is_brought_back() -> None:
    picture, crop = scene(), Box(40, 30, 64, 48)
    # px of the reference = a map of px of the draft
    angle, scale = np.deg2rad(20), 1.5
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([150.0, 100.0]) - turn @ (80, 60)
    reference = cv2.warpAffine(picture, np.column_stack([turn, shift]), (300, 220), flags=cv2.INTER_CUBIC)
    sides, there = np.diag([160, 120]), np.diag([1 / 300, 1 / 220])
    half = np.array([0.5, 0.5])
    moved = there @ turn @ sides  # of relative places, whose pixels' middles are half a pixel in
    offset = there @ (shift + half - turn @ half)
    place = Place(0, 0, 1, 1, True, (*moved[0], offset[0], *moved[1], offset[1]))
    found = turned(np.asarray(reference, np.uint8), place, crop, (160, 120), (64, 48))
    assert np.abs(found.astype(int) - cut(picture, crop, (64, 48))).mean() < 4
    # without its turn, or not asked to, the box is looked at
    plain = beside(np.asarray(reference, np.uint8), place, crop, crop, (160, 120), (64, 48), False)
    assert not np.array_equal(plain, found)
    assert np.array_equal(
        plain, beside(np.asarray(reference, np.uint8), Place(0, 0, 1, 1, True), crop, crop, (160, 120), (64, 48), True)
    )
