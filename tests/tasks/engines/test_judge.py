import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import PairJudgement, Photo, Pixels, Refusal
from tasks.engines.judge import judge_pair, likely_at_a_glance, likely_same
from tasks.engines.vlm import PairQuestion
from tests.tasks.engines.scenes import placed, product_photo, texture, turned

CUT = 0.75  # of same_product, where precision on real photos passes 0.98


def judged(target: Photo, reference: Photo, known_same: bool = False) -> PairJudgement:
    return judge_pair(PairQuestion("pair", target, reference), known_same)


def reason_of(target: Photo, reference: Photo, known_same: bool = False) -> str:
    with pytest.raises(Refusal) as refusal:
        judged(target, reference, known_same)
    return refusal.value.reason


def drawn(seed: int, degrees: float = 0, scale: float = 0.7, ground: int = 128) -> Photo:
    return Photo(f"{seed}/{degrees}/{scale}/{ground}", placed(texture(seed), turned(degrees, scale), ground=ground))


def recompressed(pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, (300, 300), interpolation=cv2.INTER_AREA)
    _, packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)


def test_one_image_is_no_pair() -> None:
    photo = drawn(1)
    assert reason_of(photo, photo) == "identical"
    assert reason_of(photo, Photo("copy", photo.pixels.copy()), known_same=True) == "identical"


@pytest.mark.parametrize(
    "again",
    [
        recompressed,
        lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
        lambda pixels: np.ascontiguousarray(pixels[20:-10, 10:-20]),
        lambda pixels: np.clip(pixels * 0.9 + 12, 0, 255).astype(np.uint8),
    ],
    ids=["recompressed", "mirrored", "cropped", "brightened"],
)
def test_the_same_shot_again_is_no_pair(again: object) -> None:
    photo = drawn(1, 15)
    assert callable(again)
    assert reason_of(photo, Photo("again", again(photo.pixels)), known_same=True) == "near-identical"


def test_one_thing_seen_twice_is_a_pair() -> None:
    judgement = judged(drawn(1), drawn(1, 25, 0.85, ground=90))
    assert judgement.same_product > CUT
    assert judgement.viewpoint > 0.5
    assert judgement.evidence["shared"] > 0.5
    assert judgement.reason.endswith(".")


def test_a_known_product_is_not_doubted_but_its_views_are() -> None:
    assert judged(drawn(1), drawn(1, 25, 0.85), known_same=True).same_product == 1
    assert reason_of(drawn(1), drawn(2, 25, 0.85), known_same=True) == "nothing-in-common"


def test_things_that_look_nothing_alike_are_spared_the_matcher() -> None:
    with pytest.raises(Refusal, match="look nothing alike") as refusal:
        judged(drawn(1), Photo("plain", placed(np.full((400, 400, 3), (200, 40, 30), np.uint8), turned(25, 0.4))))
    assert refusal.value.reason == "another-product"
    assert {"cosine", "glanced_matches"} == refusal.value.evidence.keys()


@given(cosine=st.floats(0, 1), glanced=st.floats(0, 300), more=st.floats(0.01, 50))
def test_a_glance_that_sees_more_never_makes_a_pair_less_likely(cosine: float, glanced: float, more: float) -> None:
    score = likely_at_a_glance(cosine, glanced)
    assert 0 <= score <= likely_at_a_glance(cosine, glanced + more) <= 1
    assert score <= likely_at_a_glance(min(1, cosine + more), glanced)


def labelled(word: str, degrees: float) -> Photo:
    """Return a product that is the same but for the word on its label."""
    surface = texture(1)
    surface[150:250, 40:360] = 235
    cv2.putText(surface, word, (60, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.7, (20, 20, 60), 5)
    return Photo(f"{word} {degrees}", placed(surface, turned(degrees, 0.9)))


def test_products_that_differ_in_their_words_are_two() -> None:
    with pytest.raises(Refusal, match="says 'HARBOUR' where the reference says 'LONDON'") as refusal:
        judged(labelled("HARBOUR", 0), labelled("LONDON", 6))
    assert refusal.value.reason == "another-product"
    assert judged(labelled("HARBOUR", 0), labelled("HARBOUR", 6)).same_product > CUT
    assert judged(labelled("HARBOUR", 0), labelled("LONDON", 6), known_same=True).same_product == 1


def test_the_view_scores_more_when_it_has_changed() -> None:
    barely, clearly = judged(drawn(1), drawn(1, 1, 0.7, ground=60)), judged(drawn(1), drawn(1, 25, 0.8, ground=60))
    assert clearly.viewpoint > barely.viewpoint + 0.1


def test_a_style_that_differs_scores_less() -> None:
    photo, other = drawn(1), drawn(1, 25, 0.85)
    warm = np.clip(other.pixels * np.array([0.75, 0.5, 0.3]), 0, 255).astype(np.uint8)
    assert judged(photo, Photo("warm", warm), known_same=True).style < judged(photo, other).style - 0.2


@given(cosine=st.floats(0, 1), coloured=st.floats(0, 300), detailed=st.floats(0, 300), more=st.floats(0.01, 50))
def test_more_evidence_never_makes_the_same_product_less_likely(
    cosine: float, coloured: float, detailed: float, more: float
) -> None:
    score = likely_same(cosine, coloured, detailed)
    assert 0 <= score <= likely_same(cosine, coloured + more, detailed) <= 1
    assert score <= likely_same(cosine, coloured, detailed + more)
    assert score <= likely_same(min(1, cosine + more), coloured, detailed)


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        ("rc_car/00.jpg", "rc_car/03.jpg"),
        ("bear_plushie/00.jpg", "bear_plushie/01.jpg"),
        ("dog7/00.jpg", "dog7/01.jpg"),
        ("candle/01.jpg", "candle/03.jpg"),
    ],
)
def test_real_photos_of_one_product_pair(target: str, reference: str) -> None:
    assert judged(product_photo(target), product_photo(reference)).same_product > CUT


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        ("bear_plushie/03.jpg", "grey_sloth_plushie/00.jpg"),  # two plush toys on one lawn
        ("colorful_sneaker/03.jpg", "shiny_sneaker/04.jpg"),  # two sneakers on one bench
        ("dog5/00.jpg", "dog7/00.jpg"),  # two reddish dogs
        ("candle/00.jpg", "wolf_plushie/00.jpg"),  # one rock
    ],
)
def test_real_photos_of_two_products_do_not(target: str, reference: str) -> None:
    try:
        assert judged(product_photo(target), product_photo(reference)).same_product < CUT
    except Refusal as refusal:
        assert refusal.reason in ("another-product", "nothing-in-common")


def test_a_real_product_seen_from_opposite_sides_is_refused() -> None:
    assert reason_of(product_photo("rc_car/01.jpg"), product_photo("rc_car/02.jpg"), True) == "nothing-in-common"


def test_a_real_mirrored_shot_is_refused() -> None:
    assert reason_of(product_photo("dog5/02.jpg"), product_photo("dog5/03.jpg")) == "near-identical"
