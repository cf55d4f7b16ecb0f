"""Pictures that a person hands over: read with the care of the intake, written whole or not at all."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from schemas.errors import PhotosError
from schemas.records import Mask, Pixels, Refusal
from schemas.settings import Intake
from tasks.photos import decode_photo

ANY = Intake(size=2048, min_side=16, max_aspect=20)  # what is taken: nearly any picture


def read_picture(path: Path) -> Pixels:
    """Return a picture upright, in sRGB and in its own size (H, W, 3). Raises PhotosError."""
    try:
        return np.asarray(decode_photo(path.read_bytes(), ANY).upright, np.uint8)
    except Refusal as refusal:
        raise PhotosError(f"picture {path}: {refusal.detail}; give another") from None
    except OSError as error:
        raise PhotosError(f"picture {path}: {error.strerror}; name a picture that can be read") from None


def read_mask(path: Path, draft: Pixels) -> Mask:
    """Return a mask (H, W) for a draft: True where it is nearer to white. Raises PhotosError."""
    mask: Mask = np.asarray(read_picture(path).mean(axis=2) > 127)
    if mask.shape != draft.shape[:2]:
        sizes = [f"{width} x {height} px" for height, width in (mask.shape, draft.shape[:2])]
        raise PhotosError(f"mask {path}: it is {sizes[0]}, the draft {sizes[1]}; give one of the draft's size")
    if not mask.any():
        raise PhotosError(f"mask {path}: nothing of it is white; paint white what may change, or leave it out")
    return mask


def write_picture(path: Path, pixels: Pixels) -> None:
    """Write a PNG in place of what was there. Raises OSError."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(buffer.getvalue())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
