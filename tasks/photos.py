"""A photo as it comes, decoded within bounds, and as the project keeps it: upright, sRGB, in an aspect bucket.

The decoders are C code that reads strangers' bytes: `tasks.decoding` calls this module in a process apart.
"""

import io
import math
import re
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, ImageChops, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

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
JPEGS = ("JPEG", "MPO")
OPENED = tuple(format for format in FORMATS if format != "MPO")  # which opens as a JPEG
STEP = 32  # px: both sides of a bucket are multiples, as latents of 8 or 16 px in patches of 2 need
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation
SIDEWAYS = [TURNS[orientation] for orientation in (5, 6, 7, 8)]
MOST_SCANS = 200  # of a JPEG; cameras and optimisers write about ten, a bomb thousands
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # in a JPEG; the others belong to pixels
PREVIEW = 1  # bit of a TIFF's NewSubfileType: a small copy of another picture in the file
BLACK_ON_WHITE = 0  # a TIFF's PhotometricInterpretation: zero is white
OTHERS = {  # what people name like a photo, by how it begins; "." is any byte
    rb"\s*<(!doctype html|html|head|body)": "an HTML page, as a failed download leaves it",
    rb"\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!doctype[^>]*>\s*)*<svg": "an SVG drawing",
    rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)": "HEIC; convert it to JPEG",
    rb"....ftypcrx ": "a camera's raw file; convert it to JPEG",
    rb"....ftypavi[fs]": "the beginning of a photo, or an AVIF of a kind that is not read",
    rb"....ftyp": "a video, or a picture of a kind that is not read",
    rb"(\xff\x0a|....JXL )": "JPEG XL; convert it to JPEG",
    rb"(....jP  |\xff\x4f\xff\x51)": "JPEG 2000; convert it to JPEG",
    rb"8BPS": "a Photoshop document; export it as PNG or JPEG",
    rb"%PDF": "a PDF",
    rb"PK\x03\x04": "a ZIP archive",
    rb"(II[*+]\x00|MM\x00[*+])": "a TIFF of a kind that is not read, or it is cut; save it with 8 bits a channel",
    rb"(\xff\xd8|\x89PNG|GIF8|BM|RIFF....WEBP)": "the beginning of a photo, but the rest of its header is wrong",
}

Image.MAX_IMAGE_PIXELS = None  # our own bound is checked on the header, before any decoding
PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # bytes a profile or text may unpack to; editors write more than Pillow's 1 MB
PngImagePlugin.MAX_TEXT_MEMORY = 2**26
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one thread a worker, as everywhere


@dataclass(frozen=True)
class Decoded:
    """A decoded photo: its format, its size in the file, its pixels in the bucket."""

    format: str
    source_width: int
    source_height: int
    pixels: Pixels
    upright: Image.Image  # the whole of it, sRGB

    def grey(self) -> NDArray[np.uint8]:
        """Return the whole photo as grey levels (H, W)."""
        return np.asarray(self.upright.convert("L"))


def decode_photo(data: bytes, intake: Intake) -> Decoded:
    """Decode a file's bytes to a bucketed photo.

    Raises Refusal: empty, not-an-image, animated, several-pages, preview, too-many-pixels, too-small, too-narrow,
    too-many-scans, unknown-scale, broken; and MemoryError.
    """
    if not data:
        raise Refusal("empty", "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of broken EXIF; such a photo is taken all the same
            return _decode(data, intake)
    except UnidentifiedImageError:
        raise Refusal("not-an-image", f"it is {_guess(data)} (taken are {', '.join(OPENED)})") from None
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # decoders raise anything at all on broken files
        raise Refusal("broken", f"the image cannot be decoded: {_line(error)}") from None


def _decode(data: bytes, intake: Intake) -> Decoded:
    with Image.open(io.BytesIO(data), formats=OPENED) as image:
        format = image.format or ""
        width, height = image.size
        _refuse_bounds(image, intake)
        if format in JPEGS:
            _refuse_many_scans(data)
        # JPEGs are decoded at a fraction that is still at least twice the bucket, so that no detail is lost
        image.draft("RGB", (2 * max(bucket(width, height, intake.size)),) * 2)
        image.load()
        if image.mode == "CMYK" and format == "JPEG" and "adobe" not in image.info:
            image.paste(ImageChops.invert(image))  # Pillow takes every such JPEG for one of Adobe's, which are inverted
        turn = TURNS.get(_orientation(image))  # a TIFF is upright by now
        upright = image if turn is None else image.transpose(turn)
        rgb = to_srgb(upright)
    upright_size = (height, width) if turn in SIDEWAYS else (width, height)
    fitted = ImageOps.fit(rgb, bucket(*upright_size, intake.size), Image.Resampling.LANCZOS)
    return Decoded(format, width, height, np.asarray(fitted), rgb)


def _refuse_bounds(image: Image.Image, intake: Intake) -> None:
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a camera's JPEG with previews: the first is it
        if image.format == "TIFF":
            raise Refusal("several-pages", "the TIFF has several pages; give each photo as a file of its own")
        raise Refusal("animated", "the image has several frames; give a still photo")
    if tags.get(254, 0) & PREVIEW:
        raise Refusal("preview", "the TIFF begins with a preview, as cameras' raw files do; convert it to JPEG")
    if width * height > intake.max_megapixels * 1e6:
        raise Refusal("too-many-pixels", f"{width} x {height} px is over {intake.max_megapixels:g} megapixels")
    if min(width, height) < intake.min_side:
        raise Refusal("too-small", f"{width} x {height} px: the shorter side is under {intake.min_side} px")
    if max(width, height) > intake.max_aspect * min(width, height):
        raise Refusal("too-narrow", f"{width} x {height} px is narrower than 1 : {intake.max_aspect:g}")


def _refuse_many_scans(data: bytes) -> None:
    """Count a JPEG's scans by walking its markers up to its end, before its decoder works through them."""
    at = scans = 0
    while found := MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == 0xD9:  # the end; whatever follows is not the photo's
            return
        if marker >= 0xC0 and marker != 0xD8:  # those have a length
            at += int.from_bytes(data[at : at + 2], "big")
        scans += marker == 0xDA
        if scans > MOST_SCANS:
            raise Refusal("too-many-scans", f"the JPEG has over {MOST_SCANS} scans; save it anew")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 where the EXIF cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # its parser raises anything at all on broken EXIF
        return 1


def _guess(data: bytes) -> str:
    """Say in words what a file that is no photo seems to be."""
    found = (what for begins, what in OTHERS.items() if re.match(begins, data[:4096], re.DOTALL | re.IGNORECASE))
    return next(found, "no image")


def _line(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def to_srgb(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit sRGB: 16 bits to 8, transparency on white, colours through the embedded profile.

    Raises Refusal (unknown-scale) where nothing says which number is white.
    """
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F"):
        raise Refusal("unknown-scale", "32 bits a pixel say not what is white; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode in ("RGB", "CMYK", "L", "LAB"):
        try:
            if image.mode == "LAB":
                return _through(image, LAB)
            if profile:
                return _through(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a broken or foreign profile: read the numbers as sRGB, as browsers do
    return image.convert("RGB")


def _through(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, SRGB, outputMode="RGB")
    assert converted is not None  # only in place it is
    return converted


def _on_white(image: Image.Image) -> Image.Image:
    grey = image.mode in ("L", "LA", "La")
    image = image.convert("LA" if grey else "RGBA")
    white = Image.new("L" if grey else "RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 12 or 16 bits as one of 8, with an alpha channel where one level is transparent."""
    tags = getattr(image, "tag_v2", {})
    top = 2 ** tags.get(258, (16,))[0] - 1
    table = np.minimum(np.arange(65536) * 255 / top + 0.5, 255).astype(np.uint8)
    if tags.get(262) == BLACK_ON_WHITE:
        table = 255 - table
    levels = np.asarray(image)
    grey = Image.fromarray(table[levels])
    if isinstance(transparent := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(levels == transparent, 0, 255).astype(np.uint8)))
    return grey


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
