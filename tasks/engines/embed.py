"""What a photo's product looks like as a whole: one unit vector, for finding candidate pairs and as evidence.

The object's crop is looked at again by itself, and the deepest features are averaged over the foreground: on the
20 products of DreamBooth (105 photos) that takes the recall of whole-photo pooling at precision 0.95 from 0.01 to
0.74, and the eight nearest of each photo hold 225 of the 226 pairs of one product.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Photo, Pixels
from tasks.engines.efficientnet import feature_maps
from tasks.engines.foreground import crop, foreground, foreground_once, object_box
from tasks.engines.once import once_a_photo

SEEN_AT = 256  # px on the longer side of the object's crop; 192, 320 and 384 told products apart less well
DIMENSIONS = 1280


def embed(pixels: Sequence[Pixels]) -> NDArray[np.float32]:
    """Return one vector of unit length a photo, (N, 1280) float32; cosines are in 0..1."""
    vectors = [object_vector(one, foreground(one)) for one in pixels]
    return np.stack(vectors) if vectors else np.zeros((0, DIMENSIONS), dtype=np.float32)


def object_vector(pixels: Pixels, likely: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the unit vector (1280,) float32 of a photo whose foreground (H, W) is known."""
    box = object_box(likely)
    deep = feature_maps(np.ascontiguousarray(crop(pixels, box)), SEEN_AT).deep
    rows, columns = deep.shape[:2]
    weights = cv2.resize(crop(likely, box), (columns, rows), interpolation=cv2.INTER_AREA) + 1e-6
    # The root tames the few channels that answer hugely (Hellinger's kernel, as for histograms).
    pooled = np.sqrt(np.einsum("hwc,hw->c", deep, weights) / weights.sum())
    return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-6), dtype=np.float32)


def _vector_of(photo: Photo) -> NDArray[np.float32]:
    return object_vector(photo.pixels, foreground_once(photo))


vector_once = once_a_photo(_vector_of)  # the photo's vector, computed once
