"""A photo as it comes, decoded within bounds, and as the project keeps it: upright, sRGB, in an aspect bucket."""

import io
import math
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from schemas.records import Pixels, Refusal
from schemas.settings import Intake

FORMATS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "GIF": "gif",
    "AVIF": "avif",
}
OPENED = tuple(format for format in FORMATS if format != "MPO")  # which opens as a JPEG
STEP = 32  # px: both sides of a bucket are multiples, as latents of 8 or 16 px in patches of 2 need
SRGB = ImageCms.createProfile("sRGB")

Image.MAX_IMAGE_PIXELS = None  # our own bound is checked on the header, before any decoding


@dataclass(frozen=True)
class Decoded:
    """A decoded photo: its format, its size in the file, its pixels in the bucket."""

    format: str
    source_width: int
    source_height: int
    pixels: Pixels


def decode_photo(data: bytes, intake: Intake) -> Decoded:
    """Decode a file's bytes to a bucketed photo.

    Raises Refusal: empty, too-large, not-an-image, animated, too-many-pixels, too-small, too-narrow, broken.
    """
    if not data:
        raise Refusal("empty", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of broken EXIF; such a photo is taken all the same
            return _decode(data, intake)
    except UnidentifiedImageError:
        raise Refusal("not-an-image", f"no image in a format we take ({', '.join(OPENED)})") from None
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # decoders raise anything at all on broken files
        raise Refusal("broken", f"the image cannot be decoded: {error}") from None


def _decode(data: bytes, intake: Intake) -> Decoded:
    with Image.open(io.BytesIO(data), formats=OPENED) as image:
        format = image.format or ""
        width, height = image.size
        _refuse_bounds(image, intake)
        bucket_width, bucket_height = bucket(*_upright_size(image), intake.size)
        # JPEGs are decoded at a fraction that is still at least twice the bucket, so that no detail is lost
        image.draft("RGB", (2 * max(bucket_width, bucket_height),) * 2)
        upright = ImageOps.exif_transpose(image)
    rgb = to_srgb(upright)
    fitted = ImageOps.fit(rgb, (bucket_width, bucket_height), Image.Resampling.LANCZOS)
    return Decoded(format, width, height, np.asarray(fitted))


def _refuse_bounds(image: Image.Image, intake: Intake) -> None:
    width, height = image.size
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with previews: its first frame is the photo
        raise Refusal("animated", f"the image has {frames} frames or pages; give a still photo")
    if width * height > intake.max_megapixels * 1e6:
        raise Refusal("too-many-pixels", f"{width} x {height} px is over {intake.max_megapixels:g} megapixels")
    if min(width, height) < intake.min_side:
        raise Refusal("too-small", f"{width} x {height} px: the shorter side is under {intake.min_side} px")
    if max(width, height) > intake.max_aspect * min(width, height):
        raise Refusal("too-narrow", f"{width} x {height} px is narrower than 1 : {intake.max_aspect:g}")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) once the EXIF orientation is applied."""
    width, height = image.size
    return (height, width) if image.getexif().get(0x0112) in (5, 6, 7, 8) else (width, height)


def to_srgb(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit sRGB: 16 bits to 8, transparency on white, colours through the embedded profile."""
    profile = image.info.get("icc_profile")
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        levels = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else 1.0
        image = Image.fromarray((np.clip(levels / top, 0, 1) * 255 + 0.5).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken or foreign profile: read the numbers as sRGB, as browsers do
    return image.convert("RGB")


@cache
def buckets(size: int) -> tuple[tuple[int, int], ...]:
    """Return the (width, height) buckets of about size x size px, from 1:2.5 to 2.5:1, both multiples of 32."""
    found = set()
    for width in range(STEP * math.ceil(size * 0.63 / STEP), math.floor(size * 1.6) + 1, STEP):
        height = max(STEP, round(size * size / width / STEP) * STEP)
        found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def bucket(width: int, height: int, size: int) -> tuple[int, int]:
    """Return the bucket of the nearest aspect; of two as near, the one of the nearer area."""
    aspect = math.log(width / height)
    return min(buckets(size), key=lambda b: (round(abs(math.log(b[0] / b[1]) - aspect), 9), abs(b[0] * b[1] - size**2)))
