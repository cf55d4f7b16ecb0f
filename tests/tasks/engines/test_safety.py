from pathlib import Path

import numpy as np
import pytest

from schemas.errors import SettingsError
from schemas.records import EngineFailure
from tasks.engines.load import load_classifier
from tests.tasks.engines import tiny_onnx


def test_a_classifier_of_ones_own_says_how_unsafe_a_photo_is(tmp_path: Path) -> None:
    path = tmp_path / "darkness.onnx"
    path.write_bytes(tiny_onnx.darkness())
    unsafe = load_classifier(path)
    for light in (0, 51, 255):
        assert unsafe(np.full((40, 60, 3), light, np.uint8)) == pytest.approx(1 - light / 255, abs=1e-3)


def test_what_is_no_probability_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "logits.onnx"
    path.write_bytes(tiny_onnx.logits())
    with pytest.raises(EngineFailure, match="not one probability"):
        load_classifier(path)(np.full((40, 60, 3), 250, np.uint8))


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "name an ONNX file"), (b"pickle", "no classifier in ONNX"), (tiny_onnx.of_grey(), "one picture")],
)
def test_what_is_no_classifier_is_refused_with_the_setting_named(data: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SettingsError, match=rf"setting score\.safety: {path}.*{said}"):
        load_classifier(path)
