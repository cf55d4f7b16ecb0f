"""Pairs of near hashes, held against the count of differing bits of all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.ids import stream
from tasks.engines.hamming import FARTHEST, pairs_between, pairs_within


def crowded(seed: int, count: int) -> NDArray[np.uint64]:
    """Return hashes of which many are near or equal to others: a few centres, each with a few bits flipped."""
    draw = stream(seed, "crowded")
    centres = draw.integers(0, 2**64, 1 + count // 8, dtype=np.uint64)
    hashes = centres[draw.integers(0, len(centres), count)]
    for _ in range(8):
        flipped = np.uint64(1) << draw.integers(0, 64, count, dtype=np.uint64)
        hashes = np.where(draw.random(count) < 0.7, hashes ^ flipped, hashes)
    return hashes


def by_all_pairs(first: NDArray[np.uint64], second: NDArray[np.uint64], distance: int) -> list[tuple[int, int]]:
    apart = np.bitwise_count(first[:, None] ^ second[None])
    return sorted((int(i), int(j)) for i, j in np.argwhere(apart <= distance))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(0, FARTHEST))
def test_all_pairs_within_a_distance_are_found_each_once(seed: int, count: int, distance: int) -> None:
    hashes = crowded(seed, count)
    wanted = [(i, j) for i, j in by_all_pairs(hashes, hashes, distance) if i < j]
    assert sorted(map(tuple, pairs_within(hashes, distance).tolist())) == wanted


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 300), st.integers(0, FARTHEST))
def test_all_pairs_between_two_sets_are_found_each_once(seed: int, new: int, known: int, distance: int) -> None:
    hashes = crowded(seed, new + known)
    first, second = hashes[:new], hashes[new:]
    found = sorted(map(tuple, pairs_between(first, second, distance).tolist()))
    assert found == by_all_pairs(first, second, distance)


def test_more_pairs_than_there_is_room_for_are_all_returned() -> None:
    """A hundred thousand of three thousand equal hashes: one tile has more pairs than are collected at a time."""
    equal = np.full(3000, 7, dtype=np.uint64)
    assert len(pairs_within(equal, 0)) == 3000 * 2999 // 2


@pytest.mark.parametrize("distance", [-1, FARTHEST + 1])
def test_a_distance_that_is_out_of_reach_is_refused(distance: int) -> None:
    with pytest.raises(ValueError, match="the distance is"):
        pairs_within(np.zeros(2, dtype=np.uint64), distance)
