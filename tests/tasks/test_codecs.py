from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ArtifactError
from tasks.codecs import encode_mask, encode_webp, load_mask, load_photo
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
