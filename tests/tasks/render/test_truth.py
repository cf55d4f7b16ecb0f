from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Category
from tasks.render.photos import render_view
from tasks.render.products import TYPES, product
from tasks.render.truth import Render, map_points, on_product, part_mask, region, visible_in

SIZE, SEED, BACK = 256, 8, 5
WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@cache
def photo(number: int, view: int) -> Render:
    return render_view(product(SEED, number), view, SEED, SIZE)


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(views=st.permutations([0, 1, 2]), draw=st.randoms(use_true_random=False))
def test_there_and_back_is_the_same_point(number: int, views: list[int], draw: object) -> None:
    one, other = photo(number, views[0]), photo(number, views[1])
    points = np.random.default_rng(draw.randrange(1 << 30)).uniform(0.1, 0.9, (300, 2))  # type: ignore[attr-defined]
    there, seen = map_points(one, other, points)
    back, again = map_points(other, one, there[seen])
    assert seen.mean() > 0.05
    assert again.mean() > 0.95
    off = np.abs(back - points[seen])[again] * [one.camera.width, one.camera.height]
    assert np.quantile(off, 0.98) < 1
    assert off.max() < 3


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
def test_points_correspond_in_colour(number: int) -> None:
    one, other = photo(number, 0), photo(number, 1)
    rows, columns = np.nonzero(one.surface >= 0)
    width, height = one.camera.width, one.camera.height
    there, seen = map_points(one, other, np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=1))
    x, y = (there[seen] * [other.camera.width, other.camera.height]).astype(int).T
    x, y = x.clip(0, other.camera.width - 1), y.clip(0, other.camera.height - 1)
    first, second = one.pixels[rows[seen], columns[seen]].astype(float), other.pixels[y, x].astype(float)
    alike = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    shuffled = np.corrcoef(first.ravel(), np.roll(second, 997, axis=0).ravel())[0, 1]
    assert alike > 0.7
    assert alike > shuffled + 0.15


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
def test_a_photo_sees_all_of_itself(number: int) -> None:
    one = photo(number, 0)
    assert visible_in(one, one, WHOLE) > 0.99
    for part in one.parts:
        if part.area_share > 0.003:
            assert visible_in(one, one, part.polygon) > 0.97
            assert on_product(one, part.polygon) > 0.9


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
def test_back_and_front_share_next_to_nothing(number: int) -> None:
    front, back = photo(number, 0), photo(number, BACK)
    assert back.view.side == "back"
    assert visible_in(front, back, WHOLE) < 0.12
    brand = next(part for part in front.parts if part.text == front.product.brand and part.visible_share > 0.8)
    assert visible_in(front, back, brand.polygon) == 0
    assert visible_in(front, photo(number, 1), brand.polygon) > 0.8
    assert brand.id not in {part.id for part in back.parts if part.visible_share > 0.05}


@pytest.mark.parametrize("number", range(len(TYPES)), ids=TYPES)
def test_parts_lie_where_the_maps_say(number: int) -> None:
    for view in (0, 2, BACK):
        one = photo(number, view)
        assert one.surface.shape == one.uv.shape[:2] == one.pixels.shape[:2]
        marks = {part.id: part for part in one.model.parts}
        for part in one.parts:
            points = np.array(part.polygon)
            assert 3 <= len(points) <= 64
            assert (points >= 0).all()
            assert (points <= 1).all()
            assert 0 <= part.visible_share <= 1
            mask = part_mask(marks[part.id], one.surface, one.uv)
            assert part.area_share == pytest.approx(mask.mean(), abs=1e-6)
            inside = region(part.polygon, mask.shape)
            if part.category in (Category.TEXT, Category.LOGO) and mask.sum() > 400 and part.visible_share > 0.8:
                assert (inside & mask).sum() / (inside | mask).sum() > 0.85


@pytest.mark.parametrize("number", [0, 5])
def test_the_left_of_the_print_is_on_the_left(number: int) -> None:
    one = photo(number, 0)
    brand = next(part for part in one.model.parts if part.text == one.product.brand)
    rows, columns = np.nonzero(part_mask(brand, one.surface, one.uv))
    u, v = one.uv[rows, columns].T
    assert np.corrcoef(columns, u)[0, 1] > 0.9
    assert np.corrcoef(rows, v)[0, 1] > 0.5


def test_different_looks_share_nothing() -> None:
    with pytest.raises(ValueError, match="different products"):
        visible_in(photo(0, 0), photo(1, 0), WHOLE)


def test_twins_share_their_look() -> None:
    one, twin = (render_view(product(SEED, number, True), 0, SEED, 128) for number in (0, 2))
    assert visible_in(one, twin, WHOLE) > 0.5
