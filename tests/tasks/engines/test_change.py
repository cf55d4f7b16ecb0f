import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Mask, Pixels
from tasks.engines.change import change_mask, paste_back


def photo(seed: int, size: int = 192) -> Pixels:
    """A photo-like image: smooth colours, some edges, grain."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.uniform(40, 215, (5, 5, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        x, y, r = rng.integers(0, size, 3)
        cv2.circle(image, (int(x), int(y)), int(r) // 6 + 3, rng.uniform(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    return np.asarray(np.clip(image + rng.normal(0, 2, image.shape), 0, 255), np.uint8)


def disc(size: int, x: float, y: float, radius: float) -> Mask:
    rows, columns = np.indices((size, size))
    planted: Mask = (columns - x * size) ** 2 + (rows - y * size) ** 2 < (radius * size) ** 2
    return planted


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


seeds = st.integers(0, 10**6)
places = st.floats(0.3, 0.7)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_no_change_gives_an_empty_mask(seed: int) -> None:
    image = photo(seed)
    assert not change_mask(image, image.copy()).any()


@settings(max_examples=20, deadline=None)
@given(seeds, places, places, st.floats(0.12, 0.25), st.sampled_from(["tone", "grain", "negative"]))
def test_a_planted_change_is_found(seed: int, x: float, y: float, radius: float, kind: str) -> None:
    image = photo(seed)
    planted = disc(len(image), x, y, radius)
    other = {
        "tone": np.clip(image + np.array([25, -20, 15]), 0, 255),
        "grain": np.clip(image + np.random.default_rng(seed).normal(0, 30, image.shape), 0, 255),
        "negative": 255 - image.astype(int),
    }[kind].astype(np.uint8)
    edited = np.where(planted[..., None], other, image)
    assert iou(change_mask(image, edited), planted) >= 0.8


@pytest.mark.parametrize("quality", [75, 90])
def test_a_codecs_noise_is_no_change_but_the_edit_beneath_is(quality: int) -> None:
    image = photo(3, 256)
    planted = disc(256, 0.45, 0.55, 0.2)
    edited = np.where(planted[..., None], np.clip(image.astype(int) + 40, 0, 255).astype(np.uint8), image)
    coded = [cv2.imdecode(cv2.imencode(".jpg", one, [1, quality])[1], 1) for one in (image, edited)]
    assert change_mask(image, np.asarray(coded[0], np.uint8)).mean() < 0.02
    assert iou(change_mask(image, np.asarray(coded[1], np.uint8)), planted) >= 0.8


def test_letters_of_one_word_are_one_change() -> None:
    image = photo(1, 512)
    edited = image.copy()
    cv2.putText(edited, "NOVA", (160, 260), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 4, cv2.LINE_AA)
    count, _ = cv2.connectedComponents(change_mask(image, edited).astype(np.uint8))
    assert count == 2  # the background and one piece


def test_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        change_mask(photo(0), photo(0, 96))


@settings(max_examples=20, deadline=None)
@given(seeds, places, places, st.floats(0.05, 0.3), st.integers(0, 12))
def test_paste_back_touches_nothing_beyond_the_feather(
    seed: int, x: float, y: float, radius: float, feather: int
) -> None:
    target, edited = photo(seed), photo(seed + 1)
    mask = disc(len(target), x, y, radius)
    pasted = paste_back(target, edited, mask, feather)
    beyond = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > feather
    assert np.array_equal(pasted[beyond], target[beyond])
    assert np.array_equal(pasted[mask], edited[mask])
    assert (pasted >= np.minimum(target, edited)).all()
    assert (pasted <= np.maximum(target, edited)).all()


def test_an_empty_mask_pastes_nothing() -> None:
    target, edited = photo(0), photo(1)
    assert np.array_equal(paste_back(target, edited, np.zeros(target.shape[:2], bool), 5), target)
