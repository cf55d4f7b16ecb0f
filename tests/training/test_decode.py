"""Pictures are measured before they are decoded, and whatever bytes there are, nothing but ValueError comes out."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from schemas.ids import stream
from tasks import codecs
from training.decode import declared_size, decode, decode_mask

PIXELS = stream(0, "decode").integers(0, 256, (24, 40, 3), dtype=np.uint8)
ENCODED = {
    "webp": codecs.encode_webp(PIXELS),
    "jpeg": codecs.encode_jpeg(PIXELS, 95),
    "png": codecs.encode_mask(PIXELS[..., 0] > 128),
}


def saved(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [*ENCODED.values(), saved("WEBP", quality=80), saved("PNG"), saved("JPEG", progressive=True, comment=b"hi")]
)
def test_a_picture_is_decoded_as_the_lake_does_it(data: bytes) -> None:
    assert declared_size(data) == (40, 24)
    assert np.abs(decode(data).astype(int) - codecs.decode(data)).max() <= 2  # of a JPEG; the others are exact


def test_a_mask_and_a_lossless_picture_are_decoded_exactly() -> None:
    assert np.array_equal(decode(ENCODED["webp"]), PIXELS)
    assert np.array_equal(decode_mask(ENCODED["png"]), PIXELS[..., 0] > 128)


@pytest.mark.parametrize("format", ENCODED)
def test_a_picture_that_declares_too_much_is_not_decoded(format: str) -> None:
    data = bytearray(ENCODED[format])
    match format:
        case "webp":
            data[21:25] = b"\xff\xff\xff\x0f"
        case "jpeg":
            frame = data.index(b"\xff\xc0")
            data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
        case "png":
            data[16:24] = b"\x00\x01\x00\x00" * 2
    with pytest.raises(ValueError, match="declares"):
        decode(bytes(data))


def test_a_jpeg_of_many_scans_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="scans"):
        decode(ENCODED["jpeg"] + codecs.START_OF_SCAN * 20)


@given(st.sampled_from([*ENCODED]), st.integers(0, 400), st.binary(max_size=8), st.booleans())
def test_whatever_bytes_there_are_it_is_a_picture_or_a_value_error(
    format: str, place: int, junk: bytes, cut: bool
) -> None:
    data = ENCODED[format]
    harmed = data[:place] + junk + (b"" if cut else data[place + len(junk) :])
    for read in (decode, decode_mask):
        try:
            assert read(harmed).size
        except ValueError as error:
            assert str(error)
