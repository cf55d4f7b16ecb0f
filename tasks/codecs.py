"""How pixels become bytes and back: lossless WebP for photos and edits, PNG for masks, JPEG for references."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import ArtifactError
from schemas.ids import sha256
from schemas.records import Mask, Photo, Pixels
from tasks.lake import Lake

MOST_PIXELS = 2**24  # of the lake's own images; the largest bucket has 5 million
MOST_SCANS = 16  # of its JPEGs, which have one
START_OF_SCAN = b"\xff\xda"


def encode_webp(pixels: Pixels) -> bytes:
    """Encode (H, W, 3) uint8 without loss. Method 0 is smaller and faster than PNG both ways."""
    return _encode(Image.fromarray(pixels), "WEBP", lossless=True, method=0, quality=0, exact=True)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Encode (H, W, 3) uint8 as a JPEG with full colour resolution (4:4:4)."""
    return _encode(Image.fromarray(pixels), "JPEG", quality=quality, subsampling=0)


def encode_mask(mask: Mask) -> bytes:
    """Encode (H, W) bool as a PNG of one bit a pixel."""
    return _encode(Image.fromarray(mask), "PNG", optimize=False, compress_level=6)


def decode(data: bytes, formats: tuple[str, ...] = ("WEBP", "JPEG", "PNG")) -> Pixels:
    """Decode one of the lake's own images to (H, W, 3) uint8 RGB. Raises ValueError where it is none."""
    return _decode(data, formats, "RGB")


def decode_mask(data: bytes) -> Mask:
    """Decode one of the lake's own masks to (H, W) bool. Raises ValueError where it is none."""
    return _decode(data, ("PNG",), "1")


def _decode(data: bytes, formats: tuple[str, ...], mode: str) -> NDArray[Any]:
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"it declares {width} x {height} px")
            if image.format == "JPEG" and data.count(START_OF_SCAN) > MOST_SCANS:
                raise ValueError(f"it has over {MOST_SCANS} scans")
            if image.format == "WEBP":
                return _decode_webp(data)
            return np.asarray(image.convert(mode))
    except Exception as error:  # decoders raise anything at all on broken files
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _decode_webp(data: bytes) -> Pixels:
    """Decode as Pillow does, bit for bit, in half its time: it goes by way of an animation."""
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("it is broken")
    return np.asarray(pixels, dtype=np.uint8)


def read_artifact(lake: Lake, digest: str, extension: str) -> bytes:
    """Read an artifact, and see that it still is what its name says: no rot goes on into an answer or a shard.

    Raises ArtifactError where it is missing or damaged.
    """
    path = lake.artifact(digest, extension)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        what = "it is missing; put a copy of it back"
    else:
        if sha256(data) == digest:
            return data
        what = "it is damaged (its digest is not its name); put a good copy in its place"
    raise ArtifactError(
        f"lake {lake.root}: {path.relative_to(lake.root)}: {what}, from a backup or from a lake built anew of the same "
        "photos, then run the same command again"
    )


def load_photo(lake: Lake, digest: str) -> Pixels:
    """Load a bucketed photo or an edit from the lake's artifacts. Raises ArtifactError."""
    return decode(read_artifact(lake, digest, "webp"))


def load_sides(lake: Lake, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Photo, Photo]]:
    """Load the target and the reference of pairs as engines see them, each photo once. Raises ArtifactError."""
    photo = cache(lambda digest: load_photo(lake, digest))
    return [
        (
            Photo(row["target_id"], photo(row["target_sha256"])),
            Photo(row["reference_id"], photo(row["reference_sha256"])),
        )
        for row in rows
    ]


def load_mask(lake: Lake, digest: str) -> Mask:
    """Load a mask from the lake's artifacts. Raises ArtifactError."""
    return decode_mask(read_artifact(lake, digest, "png"))


def _encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
