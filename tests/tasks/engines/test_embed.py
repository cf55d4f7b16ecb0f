import numpy as np

from tasks.engines.embed import DIMENSIONS, embed, vector_once
from tests.tasks.engines.scenes import placed, product_photo, texture, turned


def test_vectors_are_of_unit_length_and_repeat() -> None:
    photos = [placed(texture(seed), turned(0, 0.6)) for seed in (1, 2)]
    vectors = embed(photos)
    assert vectors.shape == (2, DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors, embed(photos))


def test_no_photos_give_no_vectors() -> None:
    assert embed([]).shape == (0, DIMENSIONS)


def test_the_product_counts_more_than_the_ground_it_stands_on() -> None:
    """Two products on one lawn are less alike than one product on a lawn and on a wall."""
    on_lawn, on_bricks = product_photo("poop_emoji/01.jpg"), product_photo("poop_emoji/04.jpg")
    other_on_lawn = product_photo("candle/02.jpg")
    assert vector_once(on_lawn) @ vector_once(on_bricks) > vector_once(on_lawn) @ vector_once(other_on_lawn) + 0.15
