"""All 64-bit hashes within a Hamming distance of each other, exactly.

Four bands of bits: two hashes that differ in at most d bits differ in at most t(i) bits of some band i, where
t(0) + t(1) + t(2) + t(3) = d - 3 (by the pigeonhole principle; multi-index hashing, Norouzi et al. 2012). So each hash
meets only those whose band is that near, and a pair counts in the first band that brings it together.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]  # (N,)
Pairs = NDArray[np.int64]  # (M, 2)

WIDTHS = (15, 15, 16, 18)  # bits of the bands; the last is the widest, since it may differ in the most
SHIFTS = (0, 15, 30, 46)
BANDS, TILES = len(WIDTHS), 256  # a tile: the keys of a band that begin alike, and are worked through together
FARTHEST = 12  # bits: beyond it a band's neighbours are most of all there are
SHARE = 16  # tiles of a band that one thread works through
ROOM = 2**20  # pairs that are collected at a time


def pairs_within(hashes: Hashes, distance: int) -> Pairs:
    """Return all pairs of rows (M, 2), i < j, that differ in at most `distance` bits, each once, in no special order.

    Raises ValueError where the distance is not in 0..12, or there are 2^32 hashes or more.
    """
    return _found(hashes, hashes, distance, same=True)


def pairs_between(new: Hashes, everyone: Hashes, distance: int) -> Pairs:
    """Return all pairs (row of `new`, row of `everyone`) (M, 2) within `distance` bits, as `pairs_within` does."""
    return _found(new, everyone, distance, same=False)


def _found(first: Hashes, second: Hashes, distance: int, *, same: bool) -> Pairs:
    if not 0 <= distance <= FARTHEST:
        raise ValueError(f"the distance is 0..{FARTHEST} bits, not {distance}")
    if max(len(first), len(second)) >= 2**32:
        raise ValueError(f"{max(len(first), len(second))} hashes are too many at once")
    most = np.array([(distance - 3 + band) // BANDS for band in range(BANDS)])  # t; -1: it need not be asked
    found: list[NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for band in np.flatnonzero(most >= 0):
            one = _by_band(first, int(band))
            other = one if same else _by_band(second, int(band))
            search = partial(_search, one, other, most, int(band), distance, same)
            found += [part for parts in pool.map(search, range(0, TILES, SHARE)) for part in parts]
    packed = np.concatenate(found)
    pairs = np.empty((len(packed), 2), np.int64)
    pairs[:, 0], pairs[:, 1] = packed >> np.uint64(32), packed & np.uint64(2**32 - 1)
    return pairs


Laid = tuple[Hashes, NDArray[np.uint64], NDArray[np.uint64]]


def _by_band(hashes: Hashes, band: int) -> Laid:
    """Return hashes sorted by a band's key, their rows, and where each key begins."""
    keys = (hashes >> np.uint64(SHIFTS[band])) & np.uint64(2 ** WIDTHS[band] - 1)
    order = np.argsort(keys.astype(np.uint16), kind="stable")  # 16 bits are sorted by counting
    if WIDTHS[band] > 16:
        order = order[np.argsort((keys[order] >> np.uint64(16)).astype(np.uint16), kind="stable")]
    counts = np.bincount(keys.astype(np.int64), minlength=2 ** WIDTHS[band])
    return hashes[order], order.astype(np.uint64), np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)


def _search(
    one: Laid, other: Laid, most: NDArray[np.int64], band: int, distance: int, same: bool, tile: int
) -> list[NDArray[np.uint64]]:
    """Return the pairs of SHARE tiles that a band is the first to bring together, packed: 32 bits for either row."""
    masks = np.array([sum(1 << bit for bit in bits) for count in range(most[band] + 1)
                      for bits in combinations(range(WIDTHS[band]), count)], dtype=np.uint64)  # fmt: skip
    masks = masks[np.argsort(masks >> np.uint64(WIDTHS[band] - 8), kind="stable")]
    bands = np.array([SHIFTS, WIDTHS, most])
    found = []
    room = np.empty(ROOM, np.uint64)
    end = tile + SHARE
    while tile < end:
        tile, count = _scan(*one, *other, masks, bands, band, np.uint64(distance), tile, end, same, room)
        if count == 0 and tile < end:  # one tile alone has more
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


@numba.njit("boolean(uint64, int64[:, ::1], int64)", cache=True, nogil=True)
def _met(apart, bands, band):  # type: ignore[no-untyped-def]
    """Say whether an earlier band brings two hashes together that differ in these bits."""
    for earlier in range(band):
        part = (apart >> np.uint64(bands[0, earlier])) & np.uint64((1 << bands[1, earlier]) - 1)
        if np.int64(_count(part)) <= bands[2, earlier]:
            return True
    return False


@numba.njit(
    f"UniTuple(int64, 2)({', '.join(7 * [WORDS])}, int64[:, ::1], int64, uint64, int64, int64, boolean, {WORDS})",
    cache=True,
    nogil=True,
)
def _scan(  # type: ignore[no-untyped-def]
    first, first_rows, first_begins, second, second_rows, second_begins, masks, bands, band, distance, start, end, same,
    room,
):  # fmt: skip
    """Fill `room` with pairs, tile by tile; return the tile that did not fit any more, or `end`, and the count."""
    count, one = 0, np.uint64(1)
    bits = np.uint64(bands[1, band] - 8)  # of a key within a tile
    for tile in range(start, end):
        before = count
        for mask in masks:
            if same and (np.uint64(tile) ^ (mask >> bits)) < np.uint64(tile):
                continue  # the other way round it is met in another tile
            for key in range(np.uint64(tile) << bits, np.uint64(tile + 1) << bits):
                other = key ^ mask
                if same and other < key:
                    continue
                begin, stop = second_begins[other], second_begins[other + one]
                for i in range(first_begins[key], first_begins[key + one]):
                    if same and mask == 0:
                        begin = i + one
                    for j in range(begin, stop):
                        apart = first[i] ^ second[j]
                        if _count(apart) > distance or _met(apart, bands, band):
                            continue
                        if count == len(room):
                            return tile, before
                        less, more = first_rows[i], second_rows[j]
                        if same and less > more:
                            less, more = more, less
                        room[count] = (less << np.uint64(32)) | more
                        count += 1
    return end, count
