"""How pixels become bytes and back: lossless WebP for photos and edits, PNG for masks, JPEG for references."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from schemas.records import Mask, Photo, Pixels
from tasks.lake import Lake


def encode_webp(pixels: Pixels) -> bytes:
    """Encode (H, W, 3) uint8 without loss. Method 0 is smaller and faster than PNG both ways."""
    return _encode(Image.fromarray(pixels), "WEBP", lossless=True, method=0, quality=0, exact=True)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Encode (H, W, 3) uint8 as a JPEG with full colour resolution (4:4:4)."""
    return _encode(Image.fromarray(pixels), "JPEG", quality=quality, subsampling=0)


def encode_mask(mask: Mask) -> bytes:
    """Encode (H, W) bool as a PNG of one bit a pixel."""
    return _encode(Image.fromarray(mask), "PNG", optimize=False, compress_level=6)


def decode(data: bytes) -> Pixels:
    """Decode one of the lake's own images to (H, W, 3) uint8 RGB."""
    with Image.open(io.BytesIO(data), formats=("WEBP", "JPEG", "PNG")) as image:
        return np.asarray(image.convert("RGB"))


def decode_mask(data: bytes) -> Mask:
    """Decode one of the lake's own masks to (H, W) bool."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.asarray(image.convert("1"))


def load_photo(lake: Lake, digest: str) -> Pixels:
    """Load a bucketed photo or an edit from the lake's artifacts."""
    return decode(lake.artifact(digest, "webp").read_bytes())


def load_sides(lake: Lake, row: Mapping[str, Any]) -> tuple[Photo, Photo]:
    """Load the target and the reference of a pair as engines see them."""
    return (
        Photo(row["target_id"], load_photo(lake, row["target_sha256"])),
        Photo(row["reference_id"], load_photo(lake, row["reference_sha256"])),
    )


def load_mask(lake: Lake, digest: str) -> Mask:
    """Load a mask from the lake's artifacts."""
    return decode_mask(lake.artifact(digest, "png").read_bytes())


def _encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
