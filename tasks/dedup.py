"""Near-duplicates: which photos may be one picture, by hash and by embedding, and which are, laid over each other.

`resemble` proposes for each new photo those among all that are there, so that one new photo costs only its own
comparisons; `dedup` compares each proposed pair once. Sources are compared, never an edit with its source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
from numpy.typing import NDArray

from schemas.ids import digest
from schemas.records import Photo
from schemas.settings import Dedup
from tasks.block import Vectors, nearest, vector_of
from tasks.codecs import load_photo
from tasks.engines.overlay import overlay
from tasks.lake import Lake
from tasks.ledger import Row, answered

RESEMBLE_VERSION = 1
DEDUP_VERSION = 2


def resemble(new: Sequence[str], everyone: Sequence[Row], dedup: Dedup) -> Iterator[Row]:
    """Propose pairs for `new` image ids among `everyone` (rows of image_id, hashes, vector), each pair in one row.

    Two photos are proposed whose embeddings are near enough, if a form of one has nearly the hash of the other, or if
    one is among the other's nearest by embedding. Of two new ones the greater id proposes the pair.
    """
    images = sorted(everyone, key=lambda row: row["image_id"])
    wanted = set(new)
    asking = np.array([index for index, row in enumerate(images) if row["image_id"] in wanted], dtype=np.int64)
    if len(asking) == 0:
        return
    vectors: Vectors = np.stack([vector_of(row) for row in images])  # (N, D)
    forms = np.array([row["hashes"] for row in images], dtype=np.uint64)  # (N, 8)
    found = _by_hash(forms, asking, dedup.distance)
    for one, neighbours in zip(asking, nearest(vectors, list(asking), dedup.neighbours), strict=True):
        found |= {_ordered(int(one), other) for other, cosine in neighbours if cosine >= dedup.min_neighbour}
    proposed: dict[int, list[Row]] = {int(index): [] for index in asking}
    for one, other in sorted(found):
        similarity = float(vectors[one] @ vectors[other])
        if similarity >= dedup.min_similarity:
            asker = other if other in proposed else one
            proposed[asker].append(_pair(images[one], images[other], similarity))
    for index, pairs in proposed.items():
        yield answered(images[index]["image_id"], pairs=pairs)


def dedup(lake: Lake, items: Sequence[Row]) -> Iterator[Row]:
    """Lay the photos of proposed pairs over each other, one row each."""
    load = cache(lambda digest: load_photo(lake, digest))
    for item in items:
        one, other = (Photo(item[f"{side}_id"], load(item[f"{side}_sha256"])) for side in ("one", "other"))
        found = overlay(one, other, item["form"])
        facts = {key: item[key] for key in ("one_id", "other_id", "form", "distance", "similarity")}
        yield answered(item["item_id"], **facts, **asdict(found))


def _by_hash(forms: NDArray[np.uint64], asking: NDArray[np.int64], distance: int) -> set[tuple[int, int]]:
    """Return the pairs of rows of which a form of either has nearly the other's hash, given one of them is asking."""
    from tasks.engines.hamming import pairs_between

    count = forms.shape[1]
    theirs = pairs_between(forms[asking].ravel(), forms[:, 0], distance)
    ours = pairs_between(forms[asking, 0], forms.ravel(), distance)
    pairs = np.concatenate([
        np.column_stack([asking[theirs[:, 0] // count], theirs[:, 1]]),
        np.column_stack([asking[ours[:, 0]], ours[:, 1] // count]),
    ])  # fmt: skip
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return {_ordered(int(one), int(other)) for one, other in np.unique(pairs, axis=0)}


def _ordered(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _pair(one: Row, other: Row, similarity: float) -> Row:
    own, theirs = np.array(one["hashes"], dtype=np.uint64), np.uint64(other["hashes"][0])
    bits = np.bitwise_count(own ^ theirs)
    form = int(bits.argmin())
    return {
        "pair_id": digest("same-picture", one["image_id"], other["image_id"]),
        "one_id": one["image_id"],
        "other_id": other["image_id"],
        "form": form,
        "distance": int(bits[form]),
        "similarity": similarity,
    }
