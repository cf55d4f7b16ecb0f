from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from schemas.records import EngineFailure
from tasks.engines.autoencoder import decode, decoded, encode, load_autoencoder

SHARED = Path(__file__).parents[3] / "../shared/data"
WEIGHTS = SHARED / "weights/taef2.safetensors"
PHOTO = SHARED / "products/dog/01.jpg"


def random_weights(path: Path) -> Path:
    """Write weights of taef2's layout, of small random values, to `path`."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * 0.04

    weights = {"encoder.0.weight": draw(64, 3, 3, 3), "encoder.14.weight": draw(32, 64, 3, 3)}
    weights |= {"decoder.1.weight": draw(64, 32, 3, 3), "decoder.19.weight": draw(3, 64, 3, 3)}
    weights |= {f"encoder.{number}.weight": draw(64, 64, 3, 3) for number in (2, 6, 10)}
    weights |= {f"decoder.{number}.weight": draw(64, 64, 3, 3) for number in (7, 12, 17)}
    blocks = [f"encoder.{number}" for number in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13)]
    blocks += [f"decoder.{number}" for number in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18)]
    for block in blocks:
        weights |= {f"{block}.conv.{step}.weight": draw(64, 64, 3, 3) for step in (0, 2, 4)}
        weights |= {f"{block}.conv.{step}.bias": draw(64) for step in (0, 2, 4)}
    for block in (
        f"{half}.{number}"
        for half, numbers in (("encoder", (11, 12, 13)), ("decoder", (3, 4, 5)))
        for number in numbers
    ):
        weights |= {f"{block}.pool.0.weight": draw(256, 64, 1, 1), f"{block}.pool.3.weight": draw(64, 256, 1, 1)}
        weights |= {f"{block}.pool.1.weight": draw(256), f"{block}.pool.1.bias": draw(256)}
    save_file(weights, path)
    return path


def test_latents_are_an_eighth_of_the_image_and_go_back_to_its_size(tmp_path: Path) -> None:
    weights = load_autoencoder(random_weights(tmp_path / "random.safetensors"))
    image = np.random.default_rng(0).random((40, 64, 3), dtype=np.float32)
    latents = encode(weights, image)
    assert latents.shape == (5, 8, 32)
    again = decode(weights, latents)
    assert again.shape == image.shape
    assert again.dtype == np.float32
    assert again.min() >= 0
    assert again.max() <= 1
    assert np.array_equal(again, decode(weights, encode(weights, image)))


def test_images_decoded_together_are_those_decoded_alone_and_lead_gradients_back(tmp_path: Path) -> None:
    weights = load_autoencoder(random_weights(tmp_path / "random.safetensors"))
    latents = torch.randn(2, 32, 3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    together = decoded(weights, latents)
    for row, image in zip(latents.detach(), together.detach(), strict=True):
        alone = decode(weights, row.permute(1, 2, 0).numpy())
        assert np.allclose(image.permute(1, 2, 0).numpy().clip(0, 1), alone, atol=1e-5)
    (gradient,) = torch.autograd.grad(together[0].square().sum(), latents)
    assert gradient[0].abs().min() > 0
    assert gradient[1].abs().max() == 0


def test_weights_that_are_missing_or_another_models_are_a_failure(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure, match="cannot read"):
        load_autoencoder(tmp_path / "nothing.safetensors")
    save_file({"some.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(EngineFailure, match="not taef2"):
        load_autoencoder(tmp_path / "other.safetensors")


@pytest.mark.skipif(not (WEIGHTS.exists() and PHOTO.exists()), reason="NOT TESTED: no taef2 weights or photos here")
def test_the_real_weights_bring_a_photo_back() -> None:
    photo = np.asarray(Image.open(PHOTO).convert("RGB").resize((256, 256), Image.Resampling.BOX))
    image = (photo / 255).astype(np.float32)
    weights = load_autoencoder(WEIGHTS)
    again = decode(weights, encode(weights, image))
    assert -10 * np.log10(np.mean((again - image) ** 2)) > 33  # dB
