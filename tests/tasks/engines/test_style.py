import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import stream
from schemas.records import Pixels
from tasks.engines.correspond import Points
from tasks.engines.style import SPREAD, Look, look_of, style
from tests.tasks.engines.scenes import texture

PIXELS = texture(3)
ANYWHERE = stream(0, "points").uniform(0.05, 0.95, (200, 2)).astype(np.float32)


def looked_at(pixels: Pixels) -> Look:
    return look_of(pixels, np.ones(pixels.shape[:2], np.float32))


def likeness(one: Pixels, other: Pixels, points: Points = ANYWHERE) -> float:
    return style(looked_at(one), looked_at(other), points, points)[0]


def lit(amount: float, tint: tuple[float, float, float] = (1, 1, 1)) -> Pixels:
    return np.clip(PIXELS * (amount * np.array(tint)), 0, 255).astype(np.uint8)


def test_one_photo_is_of_its_own_style() -> None:
    score, apart = style(looked_at(PIXELS), looked_at(PIXELS), ANYWHERE, ANYWHERE)
    assert score == 1
    assert apart == dict.fromkeys(SPREAD, 0)


@given(st.floats(0.5, 0.9), st.floats(0.02, 0.3))
def test_the_darker_the_further(amount: float, more: float) -> None:
    assert likeness(PIXELS, lit(amount - more)) < likeness(PIXELS, lit(amount))


def test_warm_light_is_another_style() -> None:
    assert likeness(PIXELS, lit(1, (1, 0.85, 0.7))) < 0.8 * likeness(PIXELS, lit(0.97))


def test_what_only_one_photo_shows_is_no_other_light() -> None:
    """A bowl from above shows more of the dark berries in it."""
    berries = PIXELS.copy()
    berries[:120] //= 4
    shared = ANYWHERE[ANYWHERE[:, 1] > 0.4]
    assert likeness(PIXELS, berries, shared) > likeness(PIXELS, lit(0.8), shared)
    _, apart = style(looked_at(PIXELS), looked_at(berries), shared, shared)
    assert apart["lightness"] == apart["contrast"] == 0


def test_which_photo_comes_first_does_not_matter() -> None:
    assert likeness(PIXELS, lit(0.7)) == likeness(lit(0.7), PIXELS)
