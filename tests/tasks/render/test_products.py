from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tasks.render.colours import contrast, name, palette
from tasks.render.goods import build
from tasks.render.products import GROUP, TYPES, product
from tasks.render.words import BRANDS, brand


def test_a_product_is_a_pure_function_of_seed_and_number() -> None:
    assert product(5, 11) == product(5, 11)
    assert product(5, 11) != product(6, 11)


def test_products_differ() -> None:
    items = [product(1, number) for number in range(60)]
    assert {item.type for item in items} == set(TYPES)
    assert len({item.brand for item in items}) == 60
    assert len({(item.palette, item.logo, item.badge) for item in items}) == 60


def test_brands_do_not_repeat() -> None:
    assert BRANDS > 30_000
    assert len({brand(3, number) for number in range(BRANDS)}) == BRANDS


def test_hard_negatives_are_another_product_and_a_twin() -> None:
    for first in range(0, 18, GROUP):
        one, other, twin = (product(2, first + member, hard_negatives=True) for member in range(GROUP))
        assert one.type == other.type == twin.type
        assert one.group == other.group == twin.group
        assert one.palette.base == other.palette.base
        assert {one.brand, one.logo, one.pattern}.isdisjoint({other.brand, other.logo, other.pattern})
        assert other.twin_of is None
        assert twin.twin_of == one.product_id
        assert twin.brand != one.brand
        text = {field: getattr(one, field) for field in ("number", "product_id", "twin_of", "brand", "line", "size")}
        assert replace(twin, **text) == one


@pytest.mark.parametrize("first", range(0, 18, GROUP))
def test_twins_differ_where_their_text_is_and_nowhere_else(first: int) -> None:
    one, twin = (build(product(2, first + member, hard_negatives=True), 200.0) for member in (0, 2))
    assert [part.id for part in one.parts] == [part.id for part in twin.parts]
    changed = 0
    for mine, theirs in zip(one.surfaces, twin.surfaces, strict=True):
        difference = np.abs(mine.texture[0].astype(int) - theirs.texture[0]).max(axis=2) > 24
        changed += int(difference.sum())
        height, width = difference.shape
        rows, columns = np.nonzero(difference)
        for row, column in zip(rows, columns, strict=True):
            place = (column + 0.5) / width, (row + 0.5) / height
            near = 3 / min(width, height)
            assert any(
                min(x for x, _ in mark.outline) - near <= place[0] <= max(x for x, _ in mark.outline) + near
                and min(y for _, y in mark.outline) - near <= place[1] <= max(y for _, y in mark.outline) + near
                for mark in (*mine.marks, *theirs.marks)
                if mark.text is not None or mark.subject in ("the label in the neck", "the sewn-in label")
            ), (mine.name, place)
    assert changed > 0


def test_every_type_has_text_a_logo_a_pattern_and_detail() -> None:
    for number, kind in enumerate(TYPES):
        parts = build(product(4, number), 100.0).parts
        categories = {str(part.category) for part in parts}
        assert {"text", "logo", "pattern", "object detail"} <= categories
        assert ("face" in categories) == (kind in ("plush", "poster"))
        item = product(4, number)
        assert item.brand in {part.text for part in parts}
        assert item.line in {part.text for part in parts}


def test_ink_reads_on_its_ground() -> None:
    for seed in range(40):
        colours = palette(np.random.default_rng(seed), seed / 40)
        assert contrast(colours.ink, colours.base) >= 4.5
        assert contrast(colours.accent, colours.base) >= 1.8


def test_colour_names() -> None:
    table = {
        "red": (200, 30, 30),
        "brown": (90, 60, 30),
        "blue": (40, 70, 200),
        "green": (40, 160, 60),
        "grey": (128,) * 3,
    }
    assert {name(colour) for colour in table.values()} == set(table)
    assert all(name(a) != name(b) for a, b in pairwise([(250, 250, 250), (10, 10, 10), (230, 200, 30)]))
