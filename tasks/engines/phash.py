"""The perceptual hash of a picture and of its mirrored and turned forms: 64 bits, as imagehash's `phash` defines it.

The picture as 32 x 32 grey levels, its cosine transform, the 8 x 8 lowest frequencies: a bit says which are above their
median. To mirror a picture is to negate its odd frequencies, and to transpose it is to transpose them, so that one
transform gives all eight forms.
"""

from contextlib import suppress
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, LOWEST = 32, 8  # levels and frequencies a side
FORMS = (
    "as it is", "mirrored", "upside down", "turned by 180", "transposed", "turned left", "turned right",
    "transposed across",
)  # fmt: skip

Grey = NDArray[np.uint8]  # (H, W)


def hashes(grey: Grey) -> tuple[int, ...]:
    """Return the hashes of a picture's (H, W) eight forms, in the order of FORMS: the first is its own."""
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    low = _cosines() @ np.asarray(small, np.float64) @ _cosines().T  # (8, 8)
    forms = low[None] * _signs()  # (4, 8, 8): as it is, mirrored, upside down, both
    forms = np.concatenate([forms, forms.transpose(0, 2, 1)]).reshape(8, -1)
    middle = np.partition(forms, (31, 32), axis=1)[:, 31:33].mean(axis=1, keepdims=True)  # the median of 64
    packed = np.packbits(forms > middle, axis=1)  # (8, 8) bytes, the highest first
    return tuple(packed.view(">u8")[:, 0].tolist())


def reduced_jpeg(data: bytes) -> Grey | None:
    """Return a JPEG as grey levels (H, W) at an eighth of its size, upright; None where that is too small or fails.

    That is a fraction of the work of decoding it: no colours, and one number for each block of 8 x 8 pixels.
    """
    with suppress(cv2.error):  # over OpenCV's own bounds of size
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if grey is not None and min(grey.shape) >= SIDE:
            return np.asarray(grey, dtype=np.uint8)
    return None


@cache
def _cosines() -> NDArray[np.float64]:
    """Return the lowest cosines (8, 32), unnormalised as SciPy's DCT-II."""
    frequency, place = np.arange(LOWEST)[:, None], np.arange(SIDE)
    return 2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * SIDE))


@cache
def _signs() -> NDArray[np.float64]:
    """Return the signs (4, 8, 8) that frequencies take as the picture is, mirrored, upside down, and both."""
    odd = 1.0 - 2 * (np.arange(LOWEST) % 2)
    plain = np.ones(LOWEST)
    return np.stack([np.outer(down, across) for down in (plain, odd) for across in (plain, odd)])
