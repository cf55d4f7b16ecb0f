"""Which share of an edited place the reference shows, by the matches of target and reference."""

import numpy as np

from schemas.records import Mask
from tasks.engines.correspond import Correspondences, transfer

POINTS = 256  # of a mask that are asked for, about


def reference_overlap(c: Correspondences, mask: Mask) -> float:
    """Return the share (0..1) of a mask (H, W) of the target whose place in the reference inliers vouch for.

    Raises ValueError for an empty mask.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("an empty mask: the reference shows no share of it")
    step = max(1, round((len(rows) / POINTS) ** 0.5))
    chosen = ((rows - rows.min()) % step == step // 2) & ((columns - columns.min()) % step == step // 2)  # a lattice
    if not chosen.any():  # a mask thinner than that
        chosen = np.arange(len(rows)) % step**2 == 0
    height, width = mask.shape
    asked = np.stack([(columns[chosen] + 0.5) / width, (rows[chosen] + 0.5) / height], axis=1)
    return float(transfer(c, asked.astype(np.float32))[1].mean())
