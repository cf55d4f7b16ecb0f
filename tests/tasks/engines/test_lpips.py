import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from schemas.errors import SettingsError
from schemas.records import Pixels
from tasks.engines.load import load_lpips
from tasks.engines.lpips import HEADS, describe
from tasks.engines.lpips import load_lpips as weights_at
from tests.tasks.engines.scenes import texture

SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def weights(*, heads: bool = True) -> dict[str, torch.Tensor]:
    """Return weights of LPIPS's shapes, drawn: a random network tells photos apart as well, though not as people do."""
    random = torch.Generator().manual_seed(0)
    found = {}
    for number, shape in SHAPES.items():
        fan_in = shape[1] * shape[2] * shape[3]
        found[f"features.{number}.weight"] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        found[f"features.{number}.bias"] = torch.zeros(shape[0])
    if heads:
        found |= {
            head: torch.rand(1, shape[0], 1, 1, generator=random)
            for head, shape in zip(HEADS, SHAPES.values(), strict=True)
        }
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(weights(), path)
    return path


def test_more_damage_is_farther_and_only_within_the_mask(file: Path) -> None:
    lpips = load_lpips(file)
    photo = texture(4, 192)
    mask = np.zeros((192, 192), bool)
    mask[40:100, 40:100] = True
    everywhere = np.ones_like(mask)
    assert lpips(photo, photo, mask) == 0
    noise = np.random.default_rng(0).normal(0, 1, photo.shape)
    found = [lpips(photo, np.clip(photo + level * noise, 0, 255).astype(np.uint8), mask) for level in (5, 20, 60)]
    assert found == sorted(found)
    assert found[0] > 0
    edited = photo.copy()
    edited[140:180, 140:180] = cv2.GaussianBlur(photo, (0, 0), 3)[140:180, 140:180]
    assert lpips(photo, edited, mask) < 0.05 * lpips(photo, edited, everywhere ^ mask) * everywhere.sum()
    assert lpips(photo, edited, edited.any(axis=-1) & (photo != edited).any(axis=-1)) > 3 * lpips(photo, edited, mask)


def layers(first: Pixels, second: Pixels) -> Iterator[torch.Tensor]:
    """Yield the paper's equation 1 before its means: each layer's weighed squared differences of unit features."""
    loaded, tensors = weights(), []
    for pixels in (first, second):
        x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        tensors.append((x - shift[None, :, None, None]) / scale[None, :, None, None])
    for number, (stride, padding), head in zip(SHAPES, [(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)], HEADS, strict=True):
        if number in (3, 6):
            tensors = [torch.max_pool2d(x, 3, 2) for x in tensors]
        tensors = [
            torch.relu(torch.conv2d(x, loaded[f"features.{number}.weight"], None, stride, padding))  # no bias here
            for x in tensors
        ]
        one, other = (x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in tensors)
        yield ((one - other) ** 2 * loaded[head]).sum(dim=1, keepdim=True)


def test_it_is_the_formula(file: Path) -> None:
    first, second = texture(1, 64), texture(2, 64)
    expected = sum(
        float(torch.nn.functional.interpolate(layer, size=(64, 64), mode="bilinear").mean())
        for layer in layers(first, second)
    )
    assert load_lpips(file)(first, second, np.ones((64, 64), bool)) == pytest.approx(expected, rel=1e-4)


def test_descriptions_are_as_far_apart_as_the_formula_says(file: Path) -> None:
    photos = [texture(number, 64) for number in (1, 2, 3)]
    together = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    described = describe(weights_at(file, "score.lpips"), together)
    for one, other in itertools.combinations(range(3), 2):
        expected = sum(float(layer.mean()) for layer in layers(photos[one], photos[other]))
        assert float((described[one] - described[other]).square().sum()) == pytest.approx(expected, rel=1e-4)


def test_weights_as_torchvision_saves_them_are_read_and_no_code_is_run(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.pth"
    torch.save(weights(), path)
    assert load_lpips(path)(texture(1, 64), texture(2, 64), np.ones((64, 64), bool)) > 0
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(Path("x").touch))
    with pytest.raises(SettingsError, match=r"score\.lpips"):
        load_lpips(evil)


def test_missing_weights_and_heads_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"score\.lpips: .*not found"):
        load_lpips(tmp_path / "none.safetensors")
    path = tmp_path / "vgg.safetensors"
    save_file({"features.0.weight": torch.zeros(1), **{head: torch.zeros(1) for head in HEADS}}, path)
    with pytest.raises(SettingsError, match="is not AlexNet: it lacks features"):
        load_lpips(path)
