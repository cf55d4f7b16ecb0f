import numpy as np
import pytest

from schemas.records import Category
from tasks.engines.parts import BACKGROUND, CLASSES, likely_of, parts_once
from tasks.engines.regions import things_once
from tasks.render.truth import part_mask
from tests.tasks.engines.rendered import NUMBERS, photographed, rendered
from tests.tasks.engines.scenes import product_photo


@pytest.mark.parametrize("number", NUMBERS)
def test_probabilities_add_up_and_lie_within_the_box(number: int) -> None:
    parts = parts_once(photographed(number, 0))
    assert np.allclose(parts.likely.sum(axis=2), 1, atol=1e-4)
    height, width = photographed(number, 0).pixels.shape[:2]
    left, top, right, bottom = parts.box
    for number_of_class in CLASSES.values():
        whole = likely_of(parts, number_of_class, width, height)
        assert whole.shape == (height, width)
        assert whole.max() <= 1
        outside = whole.copy()
        outside[int(top * height) : round(bottom * height), int(left * width) : round(right * width)] = 0
        assert not outside.any()


@pytest.mark.parametrize("category", [Category.TEXT, Category.LOGO, Category.PATTERN, Category.FACE])
def test_a_category_is_likelier_where_it_lies(category: Category) -> None:
    there, elsewhere = [], []
    for number in NUMBERS:
        view = rendered(number, 0)
        height, width = view.surface.shape
        likely = likely_of(parts_once(photographed(number, 0)), CLASSES[category], width, height)
        masks = [
            part_mask(part, view.surface, view.uv)
            for part in view.model.parts
            if part.category is category
        ]  # fmt: skip
        there += [float(likely[mask].mean()) for mask in masks if mask.mean() > 0.01]
        elsewhere.append(float(likely[~np.any(masks, axis=0)].mean() if masks else likely.mean()))
    assert np.mean(there) > 0.6
    assert np.mean(elsewhere) < 0.05


def test_the_ground_is_background() -> None:
    view = rendered(0, 0)
    parts = parts_once(photographed(0, 0))
    top, left = int(parts.box[1] * view.surface.shape[0]), int(parts.box[0] * view.surface.shape[1])
    assert view.surface[top, left] == -1
    assert parts.likely[0, 0, BACKGROUND] > 0.8


@pytest.mark.parametrize("name", ["dog7/01.jpg", "dog8/02.jpg", "candle/01.jpg", "wolf_plushie/00.jpg"])
def test_real_fur_and_glass_bear_no_print(name: str) -> None:
    """None of these products taught the part finder."""
    found = {thing.category for thing in things_once(product_photo(name))}
    assert not found & {Category.TEXT, Category.LOGO, Category.PATTERN}


@pytest.mark.parametrize("name", ["wolf_plushie/00.jpg", "wolf_plushie/02.jpg"])
def test_real_plush_faces_are_found(name: str) -> None:
    assert Category.FACE in {thing.category for thing in things_once(product_photo(name))}
