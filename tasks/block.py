"""Blocking: which photos are worth comparing. Each photo proposes its nearest by embedding; never all pairs.

`embed` looks at each photo once; `block` gives each new photo its neighbours among all that are there, so that one
new photo costs only its own pairs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.ids import digest
from schemas.records import EngineFailure, Photo, Refusal
from schemas.settings import Pair
from tasks.codecs import load_photo
from tasks.engines.embed import vector_once
from tasks.engines.vlm import one_by_one
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered

EMBED_VERSION = 2
BLOCK_VERSION = 1
EXACT_UP_TO = 4096  # photos searched exhaustively; beyond that in cells
CELLS_SEARCHED = 16

Vectors = NDArray[np.float32]  # (N, D), unit length


def embed(lake: Lake, items: Sequence[Row]) -> Iterator[Row]:
    """Embed photos (item_id = image_id, photo_sha256), one row each."""
    for item in items:
        photo = Photo(item["item_id"], load_photo(lake, item["photo_sha256"]))
        (outcome,) = one_by_one(vector_once, [photo])
        if isinstance(outcome, (Refusal, EngineFailure)):
            yield not_answered(item["item_id"], outcome)
        else:
            yield answered(item["item_id"], vector=outcome.astype("<f2").tobytes())


def block(new: Sequence[str], everyone: Sequence[Row], pair: Pair) -> Iterator[Row]:
    """Propose pairs for `new` items among `everyone` (rows of image_id, product, split_group, vector).

    Photos of a known product meet only those of the same product, others only others of unknown product, and in
    either case only those of the same split group: a pair across groups would carry one product into two of them.
    """
    groups: dict[tuple[str | None, str], list[Row]] = {}
    for row in everyone:
        group = groups.setdefault((row["product"], row["split_group"]), [])
        group.append({**row, "item_id": block_item(row["image_id"], row["product"])})
    wanted = set(new)
    for (product, _), members in sorted(groups.items(), key=lambda entry: (entry[0][0] or "", entry[0][1])):
        members.sort(key=lambda row: row["image_id"])
        asking = [index for index, row in enumerate(members) if row["item_id"] in wanted]
        if asking:
            count = pair.neighbours if product is None else pair.siblings
            found = nearest(np.stack([vector_of(row) for row in members]), asking, count)
            for index, neighbours in zip(asking, found, strict=True):
                pairs = [_candidate(members[index], members[other], similarity) for other, similarity in neighbours]
                yield answered(members[index]["item_id"], pairs=pairs)


def block_item(image_id: str, product: str | None) -> str:
    """Return the id of the question which pairs an image makes, given what is known of its product."""
    return digest("block", image_id, product)


def _candidate(one: Row, other: Row, similarity: float) -> Row:
    """Return the pair of two images. Its target, the photo that will be edited, is drawn by the pair's own digest."""
    first, second = sorted((one["image_id"], other["image_id"]))
    if int(digest("target", first, second), 16) % 2:
        first, second = second, first
    known_same = one["product"] is not None
    return {
        "pair_id": digest("pair", first, second, known_same),
        "target_id": first,
        "reference_id": second,
        "known_same": known_same,
        "similarity": similarity,
    }


def nearest(vectors: Vectors, asking: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
    """Return for each asking row its `count` nearest others as (row, cosine), nearest first."""
    import faiss

    faiss.omp_set_num_threads(1)
    total, width = vectors.shape
    cells = "" if total <= EXACT_UP_TO else f"IVF{round(total**0.5)},"
    index: Any = faiss.index_factory(width, f"{cells}Flat", faiss.METRIC_INNER_PRODUCT)
    if cells:
        index.nprobe = CELLS_SEARCHED
        index.train(vectors)
    index.add(vectors)
    similarities, rows = index.search(vectors[list(asking)], min(count + 1, total))
    return [
        [(int(row), float(s)) for row, s in zip(rows[k], similarities[k], strict=True) if row not in (-1, own)][:count]
        for k, own in enumerate(asking)
    ]


def vector_of(row: Row) -> NDArray[np.float32]:
    """Return a row's embedding (D,), of unit length."""
    return np.frombuffer(row["vector"], dtype="<f2").astype(np.float32)
