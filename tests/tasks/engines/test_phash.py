"""The perceptual hash, held against imagehash's."""

import io

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.ids import stream
from schemas.records import Pixels
from tasks.codecs import encode_jpeg
from tasks.engines.phash import FORMS, Grey, hashes, reduced_jpeg


def scene(seed: int, width: int, height: int) -> Pixels:
    """Return a picture with something in it: smooth noise."""
    small = stream(seed, "scene").integers(0, 256, (7, 9, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def grey(pixels: Pixels) -> Grey:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def turned(pixels: Pixels, form: int) -> Pixels:
    """Return a picture in one of its eight forms."""
    flipped = pixels[:: -1 if form & 2 else 1, :: -1 if form & 1 else 1]
    return np.ascontiguousarray(np.swapaxes(flipped, 0, 1) if form & 4 else flipped)


def by_imagehash(pixels: Pixels) -> int:
    return int(str(imagehash.phash(Image.fromarray(pixels))), 16)


def apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(64, 300), st.integers(64, 300))
def test_it_is_what_imagehash_says(seed: int, width: int, height: int) -> None:
    pixels = scene(seed, width, height)
    assert hashes(grey(pixels))[0] == by_imagehash(pixels)


@pytest.mark.parametrize("form", range(len(FORMS)))
def test_each_form_has_the_hash_of_the_picture_so_turned(form: int) -> None:
    pixels = scene(1, 280, 200)
    assert apart(hashes(grey(pixels))[form], by_imagehash(turned(pixels, form))) <= 1
    assert len(set(hashes(grey(pixels)))) == len(FORMS)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_at_an_eighth_has_nearly_the_hash_of_the_whole_upright(orientation: int) -> None:
    for seed in range(8):
        pixels = scene(seed, 640, 480)
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90, exif=exif)
        upright = {1: pixels, 3: np.rot90(pixels, 2), 6: np.rot90(pixels, -1), 8: np.rot90(pixels, 1)}[orientation]
        small = reduced_jpeg(buffer.getvalue())
        assert small is not None
        assert apart(hashes(small)[0], by_imagehash(np.ascontiguousarray(upright))) <= 2


def test_too_small_a_jpeg_and_no_jpeg_have_no_eighth() -> None:
    assert reduced_jpeg(encode_jpeg(scene(0, 300, 200), 90)) is None
    assert reduced_jpeg(b"no picture") is None
