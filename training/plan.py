"""Which samples make which batch: a pure function of the version's content, the seed and the epoch.

Shards are shuffled, then the samples of each window of the row that they form. Every sample goes into its aspect
bucket, and a batch is made when a bucket has enough. What the buckets have left at the epoch's end is laid in the order
of aspects and makes batches too, so that all but less than one batch are seen once; which ones are left out changes
from epoch to epoch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.ids import stream


@dataclass(frozen=True)
class Layout:
    """What planning knows of a split's N samples.

    `content` names them all; `shard` (N,) int32 says where each lies, in the shards' order; `aspect` (N,) int32 numbers
    its aspect bucket, in the order of aspects.
    """

    content: str
    shard: NDArray[np.int32]
    aspect: NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """The global batches of an epoch.

    `samples` (M, B) int64 are places in the layout; `aspects` (M,) int32 the one aspect of each batch; `rest` (less
    than B,) int64 is left out.
    """

    samples: NDArray[np.int64]
    aspects: NDArray[np.int32]
    rest: NDArray[np.int64]


def shuffled(layout: Layout, window: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return an epoch's order of the samples (N,): shards shuffled whole, then the samples of each window."""
    random = stream(seed, "epoch", layout.content, epoch)
    count = len(layout.shard)
    shards = int(layout.shard.max()) + 1 if count else 0
    turn = np.argsort(random.random(shards), kind="stable").argsort()  # of each shard
    row = np.argsort(turn[layout.shard], kind="stable")
    within = np.lexsort((random.random(count), np.arange(count) // window))
    return row[within]


def planned(layout: Layout, batch: int, window: int, seed: int, epoch: int) -> Plan:
    """Return an epoch's batches of `batch` samples each, in the order that they fill up; those of what is left last."""
    order = shuffled(layout, window, seed, epoch)
    aspects = layout.aspect[order]
    full: list[NDArray[np.int64]] = [np.zeros((0, batch), np.int64)]  # each (m, batch): places in the order
    left: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for aspect in np.unique(aspects):
        places = np.flatnonzero(aspects == aspect)
        whole = len(places) // batch * batch
        full.append(places[:whole].reshape(-1, batch))
        left.append(places[whole:])
    filled = np.concatenate(full)
    filled = filled[np.argsort(filled[:, -1])]  # by when they fill up
    latest = np.sort(np.concatenate(left))
    kept, rest = np.split(latest, [len(latest) // batch * batch])
    mixed = kept[np.argsort(aspects[kept], kind="stable")].reshape(-1, batch)
    places = np.concatenate([filled, mixed])
    return Plan(order[places], aspects[places[:, batch // 2]], order[rest])
