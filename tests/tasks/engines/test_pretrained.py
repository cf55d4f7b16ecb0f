from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

from schemas.errors import SettingsError
from tasks.engines.load import load_embedder
from tasks.engines.pretrained import square_about
from tests.tasks.engines.scenes import texture

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}


@pytest.fixture(scope="module", params=["clip", "dino"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    if request.param == "clip":
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL, intermediate_size=64, projection_dim=16))
    else:
        model = Dinov2Model(Dinov2Config(**SMALL))
    path = tmp_path_factory.mktemp("embedder") / str(request.param)
    model.save_pretrained(path, safe_serialization=True)
    return path


def test_a_place_that_changed_more_is_less_alike(folder: Path) -> None:
    embedder = load_embedder(folder)
    photo = texture(5, 160)
    mask = np.zeros((160, 160), bool)
    mask[60:110, 50:120] = True
    assert embedder.likeness(photo, photo, mask) == pytest.approx(1, abs=1e-5)
    weak, strong = photo.copy(), photo.copy()
    weak[mask] = cv2.GaussianBlur(photo, (0, 0), 1)[mask]
    strong[mask] = 255 - photo[mask]
    assert embedder.likeness(photo, strong, mask) < embedder.likeness(photo, weak, mask) < 1
    elsewhere = photo.copy()
    elsewhere[:20] = 0
    assert embedder.likeness(photo, elsewhere, mask) == pytest.approx(1, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(0, 59)] * 2), st.tuples(*[st.integers(1, 40)] * 2))
def test_the_square_holds_the_mask_and_lies_in_the_photo(corner: tuple[int, int], size: tuple[int, int]) -> None:
    mask = np.zeros((64, 96), bool)
    mask[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = True
    rows, columns = square_about(mask)
    assert mask[rows, columns].sum() == mask.sum()
    assert 0 <= rows.start < rows.stop <= 64
    assert 0 <= columns.start < columns.stop <= 96


def test_a_folder_without_a_model_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{tmp_path} holds no vision model"):
        load_embedder(tmp_path)
