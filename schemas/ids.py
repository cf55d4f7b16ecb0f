"""Digests, ids and random streams: the same parts always give the same id and the same stream."""

import hashlib
import json
from typing import Any

import numpy as np

ID_HEX = 32  # 128 bits: no collision to be expected among billions of items


def canonical(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(*parts: Any) -> str:
    """Return the id (32 hex digits) of JSON-able `parts`, in order.

    >>> digest("pair", "a", "b") != digest("pair", "ab")
    True
    """
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:ID_HEX]


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hex digits: the name of a file in the lake."""
    return hashlib.sha256(data).hexdigest()


def stream(seed: int, *keys: Any) -> np.random.Generator:
    """Return a random stream keyed by `seed` and `keys` alone, so that no item depends on another's turn."""
    state = hashlib.sha256(canonical([seed, *keys]).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(state[:16], "big")))
