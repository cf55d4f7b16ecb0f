"""The tiny autoencoder: taef2, a distilled encoder and decoder for the latent space of FLUX.2.

Its layout, read off the keys of taef2.safetensors: 3x3 convolutions of 64 channels, blocks of three of them with a
skip, a stride-2 convolution at each step down, a nearest-neighbour doubling at each step up, three steps each way.
Blocks at the lowest resolution first add a branch of 1x1 convolutions with a group norm of four groups.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.records import EngineFailure

if TYPE_CHECKING:
    from torch import Tensor

Weights = dict[str, "Tensor"]

LATENT_STRIDE = 8  # pixels a latent cell spans
ENCODER = ("conv", "block", *("down", "block", "block", "block") * 3, "conv")
DECODER = ("clamp", "conv", "relu", *("block", "block", "block", "up", "conv") * 3, "block", "conv")


@cache
def load_autoencoder(path: Path) -> Weights:
    """Return the weights at `path` (safetensors) as float32 tensors; the file is read once a process.

    Raises EngineFailure when the file is missing or does not hold taef2's keys.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise EngineFailure(f"cannot read the autoencoder's weights at {path}: {error}") from error
    needed = {f"encoder.{len(ENCODER) - 1}.weight", f"decoder.{len(DECODER) - 1}.weight"}
    if not needed <= weights.keys():
        raise EngineFailure(f"{path} is not taef2: it lacks {', '.join(sorted(needed - weights.keys()))}")
    return {
        key: value.to(torch.float32).contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value.float()
        for key, value in weights.items()
    }


def encode(weights: Weights, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the latents (h, w, 32) of an RGB image (8h, 8w, 3), values 0..1."""
    return _one(weights, "encoder", ENCODER, image)


def decode(weights: Weights, latents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the RGB image (8h, 8w, 3), values 0..1, of latents (h, w, 32)."""
    return np.clip(_one(weights, "decoder", DECODER, latents), 0, 1)


def decoded(weights: Weights, latents: "Tensor") -> "Tensor":
    """Return RGB images, float32 (B, 3, 8h, 8w), of latents, float32 (B, 32, h, w).

    Their values are about 0..1; gradients reach the latents.
    """
    return _run(weights, "decoder", DECODER, latents)


def _one(weights: Weights, half: str, layers: tuple[str, ...], array: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]  # (1, C, H, W), channels last
        return _run(weights, half, layers, x)[0].permute(1, 2, 0).numpy()


def _run(weights: Weights, half: str, layers: tuple[str, ...], x: "Tensor") -> "Tensor":
    import torch
    from torch.nn import functional as F  # noqa: N812

    for number, layer in enumerate(layers):
        name = f"{half}.{number}"
        match layer:
            case "conv" | "down":
                stride = 2 if layer == "down" else 1
                x = F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, 1)
            case "block":
                x = _block(weights, name, x)
            case "up":
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            case "clamp":
                x = torch.tanh(x / 3) * 3
            case "relu":
                x = F.relu(x)
    return x


def _block(weights: Weights, name: str, x: "Tensor") -> "Tensor":
    from torch.nn import functional as F  # noqa: N812

    if f"{name}.pool.0.weight" in weights:
        wide = F.conv2d(x, weights[f"{name}.pool.0.weight"])
        wide = F.relu(F.group_norm(wide, 4, weights[f"{name}.pool.1.weight"], weights[f"{name}.pool.1.bias"]))
        x = x + F.conv2d(wide, weights[f"{name}.pool.3.weight"])
    y = x
    for step in (0, 2, 4):
        y = F.conv2d(y, weights[f"{name}.conv.{step}.weight"], weights[f"{name}.conv.{step}.bias"], 1, 1)
        y = F.relu(y) if step < 4 else y
    return F.relu(y + x)
