"""How a mended place is laid into a draft: inside its mask alone, softly, so that nothing else changes."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels

SOFT = 4  # px within the mask's border over which the mended place fades in: masks are grown by so much


def laid(draft: Pixels, mended: Pixels, mask: Mask, worth: NDArray[np.float32] | None = None) -> Pixels:
    """Return the draft (H, W, 3) with `mended` within the mask (H, W); beyond it the draft pixel by pixel.

    `worth` (H, W) float32, 0..1, says where the mended place is worth having: elsewhere the draft stays.
    """
    padded = np.pad(mask.astype(np.uint8), 1, mode="edge")  # a mask that meets the picture's edge does not end there
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    share = np.clip(depth / (SOFT + 1), 0, 1)
    share = share * share * (3 - 2 * share)
    if worth is not None:
        share = share * worth
    mixed = draft + share[..., None] * (mended.astype(np.float32) - draft)
    return np.where(mask[..., None], np.rint(mixed).astype(np.uint8), draft)
