import io
import itertools
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from schemas.records import Refusal
from schemas.settings import Intake
from tasks.photos import SRGB, STEP, TURNS, bucket, buckets, decode_photo

INTAKE = Intake(size=128, min_side=32)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def halves(mode: str, left: Any, right: Any, size: tuple[int, int] = (256, 256)) -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_comes_upright_by_its_exif(format: str, orientation: int) -> None:
    upright = Image.new("RGB", (400, 256), "white")
    upright.paste("red", (0, 0, 200, 128))  # upper left
    upright.paste("blue", (200, 128, 400, 256))  # lower right
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # the others undo themselves
    turn = back.get(orientation, TURNS.get(orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if turn is None else upright.transpose(turn)
    pixels = decode_photo(encoded(stored, format, exif=exif, quality=95), INTAKE).pixels
    height, width, _ = pixels.shape
    corners = pixels[[24, 24, -24, -24], [24, -24, 24, -24]]
    expected = np.array([[255, 0, 0], [255, 255, 255], [255, 255, 255], [0, 0, 255]])
    assert np.abs(corners.astype(int) - expected).max() < 12
    assert (width, height) == bucket(400, 256, 128)


def test_broken_and_huge_exif_is_no_reason_to_refuse() -> None:
    image = halves("RGB", "red", "blue")
    plain = decode_photo(encoded(image), INTAKE).pixels
    for exif in (b"Exif\x00\x00nonsense", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00" + bytes(3_000_000)):
        for format in ("PNG", "WEBP"):
            assert (
                np.abs(decode_photo(encoded(image, format, exif=exif), INTAKE).pixels[64, 16] - plain[64, 16]).max() < 4
            )
    loop = (
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x69\x87\x04\x00\x01\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00\x00"
    )
    assert decode_photo(encoded(image, "JPEG", exif=loop), INTAKE).pixels.shape == plain.shape


def test_a_profile_of_megabytes_is_no_reason_to_refuse() -> None:
    image = halves("RGB", "red", "blue")
    profile = SRGB.tobytes() + bytes(3_000_000)
    for format in ("JPEG", "PNG", "TIFF", "WEBP"):
        assert decode_photo(encoded(image, format, icc_profile=profile), INTAKE).pixels[64, 16, 0] > 240


def test_transparency_comes_on_white() -> None:
    pixels = decode_photo(encoded(halves("RGBA", (255, 0, 0, 0), (0, 0, 255, 255))), INTAKE).pixels
    assert pixels[64, 16].tolist() == [255, 255, 255]
    assert pixels[64, -16].tolist() == [0, 0, 255]


def png(depth: int, colour: int, left: bytes, right: bytes, extra: bytes = b"") -> bytes:
    """A PNG of 256 x 256 px, by hand: Pillow writes not all kinds. `left` and `right` are one pixel each."""
    rows = (b"\x00" + left * 128 + right * 128) * 256
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 256, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("data", "left", "right"),
    [
        (png(16, 0, b"\x00\x00", b"\x80\x00"), (0, 0, 0), (128, 128, 128)),
        (png(16, 0, b"\x00\x07", b"\x80\x00", chunk(b"tRNS", b"\x00\x07")), (255, 255, 255), (128, 128, 128)),
        (png(16, 2, b"\xff\xff\0\0\0\0", b"\0\0\0\0\x80\0"), (255, 0, 0), (0, 0, 128)),
        (png(16, 2, b"\xff\xff\0\0\0\0", b"\0\0\0\0\x80\0", chunk(b"tRNS", b"\xff\xff\0\0\0\0")),
         (255, 255, 255), (0, 0, 128)),
        (png(16, 4, b"\xff\xff\x00\x00", b"\x40\x00\xff\xff"), (255, 255, 255), (64, 64, 64)),
        (png(16, 6, b"\xff\xff\0\0\0\0\0\0", b"\0\0\0\0\xff\xff\xff\xff"), (255, 255, 255), (0, 0, 255)),
        (encoded(Image.fromarray(np.repeat([[0, 2048]], 128, 1).repeat(256, 0).astype(np.uint16)), "TIFF",
                 tiffinfo={258: 16}), (0, 0, 0), (8, 8, 8)),
        (encoded(Image.fromarray(np.repeat([[0, 0x8000]], 128, 1).repeat(256, 0).astype(np.uint16)), "TIFF",
                 tiffinfo={262: 0}), (255, 255, 255), (127, 127, 127)),
        (encoded(halves("1", 0, 255), "TIFF", compression="group4"), (0, 0, 0), (255, 255, 255)),
        (encoded(halves("1", 0, 255)), (0, 0, 0), (255, 255, 255)),
        (encoded(halves("LA", (0, 0), (100, 255))), (255, 255, 255), (100, 100, 100)),
        (encoded(halves("RGBA", (255, 0, 0, 0), (0, 0, 255, 255)).quantize(4)), (255, 255, 255), (0, 0, 255)),
        (encoded(halves("L", 7, 100), transparency=7), (255, 255, 255), (100, 100, 100)),
        (encoded(halves("RGB", "red", "blue"), transparency=(255, 0, 0)), (255, 255, 255), (0, 0, 255)),
        (encoded(halves("RGB", "red", "blue").quantize(4), "GIF"), (255, 0, 0), (0, 0, 255)),
        (encoded(halves("RGBA", (255, 0, 0, 0), (0, 0, 255, 255)), "WEBP", lossless=True), (255,) * 3, (0, 0, 255)),
        (encoded(halves("RGBA", (255, 0, 0, 0), (0, 0, 255, 255)), "TIFF"), (255, 255, 255), (0, 0, 255)),
        (encoded(halves("RGB", "red", "blue"), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
         (254, 0, 0), (0, 0, 254)),
        (encoded(halves("RGB", "red", "blue"), "BMP"), (255, 0, 0), (0, 0, 255)),
        (encoded(halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "TIFF"), (255, 0, 0), (0, 0, 255)),
        (encoded(halves("LAB", (128, 128, 128), (255, 128, 128)), "TIFF"), (119, 119, 119), (255, 255, 255)),
    ],
)  # fmt: skip
def test_every_kind_of_pixel_comes_as_people_see_it(data: bytes, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    pixels = decode_photo(data, INTAKE).pixels.astype(int)
    assert np.abs(pixels[64, 16] - left).max() <= 2
    assert np.abs(pixels[64, -16] - right).max() <= 2


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma", "jpeg"])
def test_a_tiff_is_read_however_it_is_packed(compression: str) -> None:
    pixels = decode_photo(encoded(halves("RGB", "red", "blue"), "TIFF", compression=compression), INTAKE).pixels
    assert pixels[64, 16, 0] > 250
    assert pixels[64, -16, 2] > 250


def test_a_palette_with_transparency_comes_as_colours() -> None:
    image = halves("RGB", "red", "lime").quantize(4)
    pixels = decode_photo(encoded(image), INTAKE).pixels
    assert pixels[64, 16].tolist() == [255, 0, 0]


def test_colours_go_through_the_embedded_profile() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")  # red is blue
    image = halves("RGB", (200, 30, 30), (30, 30, 200))
    pixels = decode_photo(encoded(image, icc_profile=swapped), INTAKE).pixels
    assert pixels[64, 16, 2] > 150 > pixels[64, 16, 0]
    assert pixels[64, -16, 0] > 150 > pixels[64, -16, 2]


def test_a_profile_that_is_of_no_use_is_left_alone() -> None:
    linear = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    image = halves("RGB", (200, 30, 30), (30, 30, 200))
    plain = decode_photo(encoded(image), INTAKE).pixels
    assert np.array_equal(decode_photo(encoded(image, icc_profile=linear.tobytes()), INTAKE).pixels, plain)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    near = decode_photo(encoded(image, icc_profile=srgb), INTAKE).pixels
    assert np.abs(near.astype(int) - plain).max() <= 1
    assert np.array_equal(decode_photo(encoded(image, icc_profile=b"nonsense"), INTAKE).pixels, plain)


@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_is_taken_inverted_as_adobe_writes_it_or_not(marked: bool) -> None:
    data = encoded(halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "JPEG", quality=95)
    if not marked:  # without Adobe's segment the numbers are meant as they stand: what was ink is paper
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    pixels = decode_photo(data, INTAKE).pixels.astype(int)
    assert pixels[64, 16, 0] - pixels[64, 16, 1] > 140 if marked else pixels[64, 16].max() < 20
    assert pixels[64, -16, 2] - pixels[64, -16, 1] > 140 if marked else pixels[64, -16].max() < 20


def cmyk_profile() -> bytes:
    """A printer's profile by hand (ICC.1:2001): a table of two points an ink, whose inks all print as grey."""
    levels = [(255 - 40 * (c + m + y) if not k else 0) for c, m, y, k in itertools.product((0, 1), repeat=4)]
    table = bytes(value for level in levels for value in (level, 128, 128))  # Lab
    line = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i in (0, 4, 8)) for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + line * 4 + table + line * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": white, b"A2B0": lut}
    at, listed, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        listed += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + listed + body


def test_cmyk_goes_through_its_profile() -> None:
    image = halves("CMYK", (0, 255, 255, 0), (255, 0, 0, 0))
    for data in (
        encoded(image, "JPEG", quality=95, icc_profile=cmyk_profile()),
        encoded(image, "TIFF", icc_profile=cmyk_profile()),
    ):
        pixels = decode_photo(data, INTAKE).pixels.astype(int)
        assert np.ptp(pixels[64, 16]) <= 6  # grey, as the profile says
        assert 150 < pixels[64, 16, 0] < pixels[64, -16, 0] < 230


PNG = encoded(halves("RGB", "red", "blue"))
JPEG = encoded(Image.effect_noise((256, 256), 60).convert("RGB"), "JPEG")
AVIF = encoded(Image.effect_noise((256, 256), 60).convert("RGB"), "AVIF")
LZW = encoded(Image.effect_noise((256, 256), 60).convert("RGB"), "TIFF", compression="tiff_lzw")
FRAMES = [Image.new("RGB", (256, 256), colour) for colour in ("red", "blue")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not-an-image"),
        (b"\n<!DOCTYPE html><p>", "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "not-an-image"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "not-an-image"),
        (b"\xff\xd8\xff", "not-an-image"),
        (PNG[: len(PNG) // 2], "broken"),
        (JPEG[: len(JPEG) // 2], "broken"),
        (encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "animated"),
        (encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animated"),
        (encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "animated"),
        (encoded(FRAMES[0], "AVIF", save_all=True, append_images=FRAMES[1:]), "animated"),
        (encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), "several-pages"),
        (encoded(FRAMES[0], "TIFF", tiffinfo={254: 1}), "preview"),
        (encoded(Image.new("F", (256, 256)), "TIFF"), "unknown-scale"),
        (encoded(Image.new("I", (256, 256)), "TIFF"), "unknown-scale"),
        (encoded(Image.new("RGB", (1, 1))), "too-small"),
        (encoded(Image.new("RGB", (1, 20_000))), "too-small"),
        (encoded(Image.new("RGB", (16, 16))), "too-small"),
        (encoded(Image.new("RGB", (40, 400))), "too-narrow"),
        (encoded(Image.new("1", (20_000, 20_000))), "too-many-pixels"),
        (PNG[:16] + struct.pack(">II", 50_000, 50_000) + PNG[24:29] + struct.pack(">I", zlib.crc32(
            b"IHDR" + struct.pack(">II", 50_000, 50_000) + PNG[24:29])) + PNG[33:], "too-many-pixels"),
    ],
)  # fmt: skip
def test_what_is_no_photo_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode_photo(data, INTAKE)
    assert refused.value.reason == reason
    assert "\n" not in refused.value.detail


def test_what_people_name_like_a_photo_is_called_by_its_name() -> None:
    for data, word in (
        (b"<html>", "HTML"),
        (b"<svg>", "SVG"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (AVIF[: len(AVIF) // 20], "the beginning of a photo"),
        (AVIF[:40], "the beginning of a photo"),
        (LZW[: len(LZW) // 2], "or it is cut"),
        (b"\0\0\0\x18ftypisom", "a video"),
    ):
        with pytest.raises(Refusal, match=word):
            decode_photo(data, INTAKE)


def test_a_jpeg_that_is_a_zip_as_well_is_the_jpeg() -> None:
    archive = b"PK\x03\x04" + b"\xff\x01" * 5000
    assert np.array_equal(decode_photo(JPEG + archive, INTAKE).pixels, decode_photo(JPEG, INTAKE).pixels)


def test_a_narrow_photo_is_taken_where_the_settings_take_it() -> None:
    wide = Intake(size=128, min_side=16, max_aspect=1000)
    assert decode_photo(encoded(Image.new("RGB", (20, 15_000), "red")), wide).pixels[0, 0].tolist() == [255, 0, 0]


@given(st.binary(max_size=400), st.integers(0, len(PNG)))
def test_garbage_is_taken_or_refused_but_never_crashes(garbage: bytes, at: int) -> None:
    try:
        decode_photo(PNG[:at] + garbage + PNG[at + len(garbage) :], INTAKE)
    except Refusal as refused:
        assert refused.reason


@given(st.integers(100, 4000), st.integers(100, 4000), st.sampled_from([256, 512, 1024]))
def test_a_bucket_has_about_the_aspect_and_the_area(width: int, height: int, size: int) -> None:
    found = bucket(width, height, size)
    assert found in buckets(size)
    assert found[0] % STEP == found[1] % STEP == 0
    assert 0.85 < found[0] * found[1] / size**2 < 1.15
    if 0.45 < width / height < 2.2:
        assert abs(math.log(found[0] / found[1]) - math.log(width / height)) < 0.16


def test_a_square_photo_gets_the_square_bucket() -> None:
    assert bucket(3000, 3000, 512) == (512, 512)
    assert decode_photo(PNG, INTAKE).pixels.shape == (128, 128, 3)
