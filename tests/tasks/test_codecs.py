from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.errors import ArtifactError
from tasks.codecs import decode, encode_mask, encode_webp, load_mask, load_photo, load_sides
from tasks.lake import create_lake

PIXELS = np.full((64, 64, 3), 90, np.uint8)
ENDINGS = pytest.mark.parametrize(
    ("load", "encoded", "extension"),
    [(load_photo, encode_webp(PIXELS), "webp"), (load_mask, encode_mask(PIXELS[:, :, 0] > 0), "png")],
    ids=["photo", "mask"],
)


def flip(path: Path) -> None:
    """Change one bit, with which it may still decode."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


HARMS = [(Path.unlink, "missing"), (lambda path: path.write_bytes(b""), "damaged"), (flip, "damaged")]


@ENDINGS
@pytest.mark.parametrize(("harm", "what"), HARMS)
def test_an_artifact_that_is_missing_or_damaged_is_named_as_a_file_of_the_lake(
    load: Callable[..., Any], encoded: bytes, extension: str, harm: Callable[[Path], Any], what: str, tmp_path: Path
) -> None:
    lake = create_lake(tmp_path / "lake")
    digest = lake.put_artifact(encoded, extension)
    assert load(lake, digest).shape[:2] == (64, 64)
    harm(lake.artifact(digest, extension))
    with pytest.raises(ArtifactError) as raised:
        load(lake, digest)
    assert f": artifacts/{digest[:2]}/{digest}.{extension}: it is {what}" in str(raised.value)
    assert "\n" not in str(raised.value)


@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_what_was_encoded_without_loss_comes_back(pixels: np.ndarray) -> None:
    assert np.array_equal(decode(encode_webp(pixels)), pixels)


def test_a_webp_that_is_cut_short_is_an_error() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encode_webp(noise)
    for length in (20, len(data) // 2, len(data) - 40):
        with pytest.raises(ValueError, match=r"\S"):
            decode(data[:length])


def test_a_photo_of_several_pairs_is_decoded_once(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    one, two = (lake.put_artifact(encode_webp(PIXELS + n), "webp") for n in range(2))
    rows = [
        {"target_id": "a", "target_sha256": one, "reference_id": "b", "reference_sha256": two},
        {"target_id": "b", "target_sha256": two, "reference_id": "a", "reference_sha256": one},
    ]
    (target, reference), (again, first) = load_sides(lake, rows)
    assert target.pixels is first.pixels
    assert reference.pixels is again.pixels
    assert reference.pixels[0, 0, 0] == 91
