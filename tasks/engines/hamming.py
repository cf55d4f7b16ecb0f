"""All 64-bit hashes within a Hamming distance of each other, exactly.

Four bands of 16 bits: two hashes that differ in at most d bits differ in at most t(i) bits of some band i, where
t(0) + t(1) + t(2) + t(3) = d - 3 (by the pigeonhole principle; multi-index hashing, Norouzi et al. 2012). So each hash
meets only those whose band is that near, and a pair counts in the first band that brings it together.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]  # (N,)
Pairs = NDArray[np.int64]  # (M, 2)

BANDS, WIDTH = 4, 16  # bits
KEYS, TILE = 2**WIDTH, 2**8  # what a band may hold; as many keys are worked through while they are at hand
FARTHEST = 12  # bits: beyond it a band's neighbours are most of all there are
ROOM = 2**20  # pairs that are collected at a time


def pairs_within(hashes: Hashes, distance: int) -> Pairs:
    """Return all pairs of rows (M, 2), i < j, that differ in at most `distance` bits, each once, in no special order.

    Raises ValueError where the distance is not in 0..12, or there are 2^32 hashes or more.
    """
    return np.sort(_found(hashes, hashes, distance, same=True), axis=1)


def pairs_between(new: Hashes, everyone: Hashes, distance: int) -> Pairs:
    """Return all pairs (row of `new`, row of `everyone`) (M, 2) within `distance` bits, as `pairs_within` does."""
    return _found(new, everyone, distance, same=False)


def _found(first: Hashes, second: Hashes, distance: int, *, same: bool) -> Pairs:
    if not 0 <= distance <= FARTHEST:
        raise ValueError(f"the distance is 0..{FARTHEST} bits, not {distance}")
    if max(len(first), len(second)) >= 2**32:
        raise ValueError(f"{max(len(first), len(second))} hashes are too many at once")
    most = [(distance - 3 + band) // BANDS for band in range(BANDS)]  # t; -1: a band that need not be asked
    found: list[NDArray[np.uint64]] = []
    for band in range(BANDS):
        if most[band] >= 0:
            one = _by_band(first, band)
            other = one if same else _by_band(second, band)
            found += _search(one, other, np.array(most), band, distance, same)
    packed = np.concatenate([np.zeros(0, np.uint64), *found])
    return np.column_stack([packed >> np.uint64(32), packed & np.uint64(2**32 - 1)]).astype(np.int64)


Laid = tuple[Hashes, NDArray[np.uint64], NDArray[np.uint64]]


def _by_band(hashes: Hashes, band: int) -> Laid:
    """Return hashes sorted by a band's key, their rows, and where each key begins (KEYS + 1,)."""
    keys = (hashes >> np.uint64(WIDTH * band)).astype(np.uint16)
    order = np.argsort(keys, kind="stable")  # 16 bits are sorted by counting
    begins = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=KEYS))])
    return hashes[order], order.astype(np.uint64), begins.astype(np.uint64)


def _search(
    one: Laid, other: Laid, most: NDArray[np.int64], band: int, distance: int, same: bool
) -> list[NDArray[np.uint64]]:
    """Return the pairs that a band is the first to bring together, packed: 32 bits for either row."""
    masks = np.array([sum(1 << bit for bit in bits) for count in range(most[band] + 1)
                      for bits in combinations(range(WIDTH), count)], dtype=np.uint64)  # fmt: skip
    masks = masks[np.argsort(masks // TILE, kind="stable")]
    found = []
    room = np.empty(ROOM, np.uint64)
    tile = 0
    while tile < KEYS // TILE:
        tile, count = _scan(*one, *other, masks, most, band, np.uint64(distance), tile, same, room)
        if count == 0 and tile < KEYS // TILE:  # one tile alone has more
            room = np.empty(2 * len(room), np.uint64)
        found.append(room[:count].copy())
    return found


@intrinsic
def _bits(_typing: Any, word: Any) -> Any:
    """Return how many bits of a word are set: the processor's own instruction, for which Numba has no name."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), generate


_count: Any = _bits  # Numba calls it with the word alone
WORDS = "uint64[::1]"


@numba.njit(
    f"UniTuple(int64, 2)({', '.join(7 * [WORDS])}, int64[::1], int64, uint64, int64, boolean, {WORDS})",
    cache=True,
    nogil=True,
)
def _scan(  # type: ignore[no-untyped-def]
    first, first_rows, first_begins, second, second_rows, second_begins, masks, most, band, distance, start, same, room
):
    """Fill `room` with pairs, tile by tile from `start`; return the tile that did not fit any more and the count."""
    count = 0
    one = np.uint64(1)
    for tile in range(start, 256):
        before = count
        for mask in masks:
            if same and (np.uint64(tile) ^ (mask >> np.uint64(8))) < np.uint64(tile):
                continue  # the other way round it is met in another tile
            for low in range(256):
                key = np.uint64((tile << 8) | low)
                other = key ^ mask
                if same and other < key:
                    continue
                begin, end = second_begins[other], second_begins[other + one]
                for i in range(first_begins[key], first_begins[key + one]):
                    mine = first[i]
                    if same and mask == 0:
                        begin = i + one
                    for j in range(begin, end):
                        apart = mine ^ second[j]
                        if _count(apart) > distance:
                            continue
                        met = False  # in an earlier band
                        for earlier in range(band):
                            part = (apart >> np.uint64(16 * earlier)) & np.uint64(65535)
                            met |= np.int64(_count(part)) <= most[earlier]
                        if met:
                            continue
                        if count == len(room):
                            return tile, before
                        room[count] = (first_rows[i] << np.uint64(32)) | second_rows[j]
                        count += 1
    return 256, count
