import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import stream
from schemas.records import Category, Mask, Operation, Point, Polygon
from tasks.engines import words
from tasks.engines.classical import OPERATIONS

FORBIDDEN = re.compile(
    r"\d|['\"]|\b(garbl\w*|smear\w*|resynthes\w*|warp\w*|recolour\w*|resampl\w*|autoencod\w*|retyp\w*|rebrand\w*"
    r"|repattern\w*|strength|seed|mask|pixels?|blur\w*|noise|sigma|radius|percent|factor|latent|region|polygon"
    r"|black|white|gr[ae]y|beige|brown|pink|red|orange|yellow|green|teal|blue|purple)\b",
    re.IGNORECASE,
)
DRAWS = [(category, operation) for category, operations in OPERATIONS.items() for operation in operations]
coordinate = st.floats(0, 1)
triangles = st.tuples(*[st.tuples(coordinate, coordinate)] * 3)


def mirrored_words(phrase: str) -> str:
    return re.sub(r"left|right", lambda side: {"left": "right", "right": "left"}[side.group()], phrase)


def agrees(phrase: str, point: Point) -> bool:
    """Check the words for a place against where the point lies, borders left out."""
    (x, y), near = point, 1e-9
    across = "left" if x < 0.5 - words.CENTRE - near else "right" if x > 0.5 + words.CENTRE + near else None
    down = ("top", "upper") if y < 0.5 - words.CENTRE - near else ()
    down = ("bottom", "lower") if y > 0.5 + words.CENTRE + near else down
    said = set(phrase.split())
    sideways = said & {"left", "right"} == ({across} if across else set())
    upright = bool(said & set(down)) if down else not said & {"top", "upper", "bottom", "lower"}
    return sideways and upright


@given(triangles)
def test_place_words_agree_with_the_centre_of_any_polygon(polygon: Polygon) -> None:
    point = words.centre_of(polygon)
    on_a_border = any(abs(abs(at - 0.5) - words.CENTRE) < 1e-6 for at in point)
    assert on_a_border or all(agrees(phrase, point) for phrase in words.places(point))


@given(triangles)
def test_a_mirrored_polygon_has_mirrored_words(polygon: Polygon) -> None:
    point = words.centre_of(polygon)
    mirrored = words.centre_of(tuple((1 - x, y) for x, y in polygon))
    assert mirrored == pytest.approx((1 - point[0], point[1]), abs=1e-6)
    if abs(abs(point[0] - 0.5) - words.CENTRE) > 1e-6 and abs(abs(point[1] - 0.5) - words.CENTRE) > 1e-6:
        assert [mirrored_words(phrase) for phrase in words.places(point)] == list(words.places(mirrored))


def test_left_is_the_left_of_the_image() -> None:
    mask: Mask = np.zeros((60, 90), dtype=np.bool_)
    mask[25:35, 5:15] = True
    assert words.centre_of_mask(mask) == pytest.approx((10 / 90, 0.5))
    assert "on the left" in words.places(words.centre_of_mask(mask))
    assert "on the right" in words.places(words.centre_of_mask(mask[:, ::-1]))
    assert "at the top" in words.places((0.5, 0.1))


@pytest.mark.parametrize("point", [(x, y) for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)])
def test_restorations_tell_neither_what_was_done_nor_what_to_see(point: Point) -> None:
    rng = stream(3, "restore", *point)
    for category, operation in DRAWS:
        for place in words.places(point):
            sentence = words.restore_sentence(rng, category, operation, place)
            assert not FORBIDDEN.search(sentence), sentence
            assert place in sentence or place.capitalize() in sentence
            assert "reference" in sentence


def test_restorations_name_the_category() -> None:
    rng = stream(4, "nouns")
    nouns = {Category.TEXT: "text|lettering|writing", Category.LOGO: "logo|emblem", Category.FACE: "face"}
    for category, operation in DRAWS:
        sentence = words.restore_sentence(rng, category, operation, "on the left").lower()
        assert re.search(nouns.get(category, "pattern|detail|part|area"), sentence), sentence


def sentence_of(kind: str, number: int) -> str:
    rng = stream(5, kind, number)
    category, operation = DRAWS[int(rng.integers(len(DRAWS)))]
    place = words.places((float(rng.random()), float(rng.random())))[0]
    if kind == "restore":
        return words.restore_sentence(rng, category, operation, place)
    thing = words.subject(rng, category, "part", None, None)
    return words.edit_sentence(rng, operation, thing, place, "NOVA" if operation is Operation.RETYPE else None)


@pytest.mark.parametrize("kind", ["edit", "restore"])
def test_sentences_are_many_and_well_formed(kind: str) -> None:
    sentences = [sentence_of(kind, number) for number in range(1000)]
    assert len(set(sentences)) >= 200
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z].*[^.,: ]\.", sentence), sentence
        assert "  " not in sentence
        assert "{" not in sentence
        assert all(part[0].isupper() for part in sentence.split(". "))


@pytest.mark.parametrize("category", [Category.OBJECT_DETAIL, Category.FACE])
def test_one_category_alone_is_asked_for_in_many_ways(category: Category) -> None:
    rng = stream(6, "alone", category)
    operation = next(iter(OPERATIONS[category]))
    sentences = {words.restore_sentence(rng, category, operation, "on the left") for _ in range(1000)}
    assert len(sentences) >= 200


@given(st.text("abcXYZ 019.-", min_size=1, max_size=14), st.integers(0, 99))
def test_another_text_is_like_the_text_and_is_another(text: str, seed: int) -> None:
    other = words.another_text(stream(seed, "text"), text)
    assert len(other) == len(text)
    for here, there in zip(text, other, strict=True):
        assert (here.isalpha(), here.isdigit(), here.isupper()) == (there.isalpha(), there.isdigit(), there.isupper())
        assert (here != there) == here.isalnum()


def test_a_text_is_quoted_and_called_by_its_kind() -> None:
    rng = stream(7, "subject")
    assert words.subject(rng, Category.TEXT, "text", None, "NOVA").endswith("'NOVA'")
    assert "word" not in words.subject(rng, Category.TEXT, "text", None, "500")
    assert words.subject(rng, Category.PATTERN, "striped pattern", "red", None) == "the red striped pattern"
    assert words.subject(rng, Category.FACE, "face", None, None) == "the face"
