import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from schemas.records import Refusal
from schemas.settings import Intake
from tasks.photos import STEP, bucket, buckets, decode_photo

INTAKE = Intake(size=128, min_side=32)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def halves(mode: str, left: Any, right: Any, size: tuple[int, int] = (256, 256)) -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def test_a_photo_comes_upright_by_its_exif() -> None:
    image = halves("RGB", "red", "blue")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the left half comes to the top
    pixels = decode_photo(encoded(image, "JPEG", exif=exif, quality=95), INTAKE).pixels
    assert pixels[16, 64, 0] > 200
    assert pixels[-16, 64, 2] > 200


def test_transparency_comes_on_white() -> None:
    pixels = decode_photo(encoded(halves("RGBA", (255, 0, 0, 0), (0, 0, 255, 255))), INTAKE).pixels
    assert pixels[64, 16].tolist() == [255, 255, 255]
    assert pixels[64, -16].tolist() == [0, 0, 255]


def test_sixteen_bits_come_as_eight() -> None:
    levels = np.full((256, 256), 0x8000, np.uint16)
    pixels = decode_photo(encoded(Image.fromarray(levels)), INTAKE).pixels
    assert abs(int(pixels[64, 64, 0]) - 128) <= 1


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


def test_cmyk_is_taken() -> None:
    decoded = decode_photo(encoded(halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "JPEG", quality=95), INTAKE)
    assert decoded.pixels[64, 16, 0] > 200
    assert decoded.pixels[64, 16, 1] < 60


PNG = encoded(halves("RGB", "red", "blue"))
FRAMES = [Image.new("RGB", (256, 256), colour) for colour in ("red", "blue")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image"),
        (PNG[: len(PNG) // 2], "broken"),
        (encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "animated"),
        (encoded(Image.new("RGB", (16, 16))), "too-small"),
        (encoded(Image.new("RGB", (40, 400))), "too-narrow"),
        (encoded(Image.new("1", (20_000, 20_000))), "too-many-pixels"),
    ],
)
def test_what_is_no_photo_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode_photo(data, INTAKE)
    assert refused.value.reason == reason


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
