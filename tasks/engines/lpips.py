"""LPIPS: how far apart two photos look to a network that was trained on people's judgements (Zhang et al., CVPR 2018).

AlexNet and the heads of version 0.1. The weights are not ours to ship: a setting names AlexNet's, as torchvision
publishes them; the heads are in the same file, or in the package `lpips` where that is installed.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from schemas.errors import SettingsError
from schemas.records import Mask, Pixels

if TYPE_CHECKING:
    from torch import Tensor

CONVOLUTIONS = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}  # of AlexNet, by key: stride and padding
POOLED_BEFORE = (3, 6)
HEADS = tuple(f"lin{number}.model.1.weight" for number in range(len(CONVOLUTIONS)))
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)  # of channels in -1..1
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
SMALLEST = 64  # px: AlexNet steps down by 16

Weights = dict[str, "Tensor"]


def lpips(weights: Weights, first: Pixels, second: Pixels, mask: Mask) -> float:
    """Return LPIPS (0 upward, 0 for equal photos) of two photos (H, W, 3), its map averaged over a mask (H, W).

    Raises ValueError for photos of different sizes and for an empty mask.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812

    if first.shape != second.shape or mask.shape != first.shape[:2] or not mask.any():
        raise ValueError(f"photos of {first.shape} and {second.shape}, a mask of {mask.shape}: nothing to compare")
    height, width = mask.shape
    with torch.inference_mode():
        apart = torch.zeros(1, 1, height, width)
        layers = zip(_features(weights, first), _features(weights, second), HEADS, strict=True)
        for one, other, head in layers:  # (1, C, h, w) each
            difference = (_unit(one) - _unit(other)).square()
            each = F.conv2d(difference, weights[head])
            apart += F.interpolate(each, size=(height, width), mode="bilinear", align_corners=False)
        return float(apart[0, 0].numpy()[mask].mean())


def describe(weights: Weights, pictures: "Tensor") -> "Tensor":
    """Return what pictures of one size look like, (N, D), given float32 (N, 3, H, W), 0..1, of 64 px or more.

    The squared distance of two descriptions is the LPIPS of their pictures.
    """
    import torch

    here = {key: tensor.to(pictures.device) for key, tensor in weights.items()}
    shift, scale = (torch.from_numpy(one).to(pictures.device).view(3, 1, 1) for one in (SHIFT, SCALE))
    with torch.inference_mode():
        layers = zip(_trunk(here, (pictures * 2 - 1 - shift) / scale), HEADS, strict=True)
        parts = [  # each (N, C, h, w), so that squares add up to the mean over places of the weighed difference
            _unit(one) * (here[head].clamp(min=0).view(1, -1, 1, 1) / (one.shape[2] * one.shape[3])).sqrt()
            for one, head in layers
        ]
        return torch.cat([part.flatten(1) for part in parts], dim=1)


@cache
def load_lpips(path: Path, setting: str) -> Weights:
    """Return the weights of trunk and heads, float32; files are read once a process, and run no code of theirs.

    Raises SettingsError, which names the setting, where they are missing or are others.
    """
    weights = _read(path, setting)
    if not set(HEADS) <= weights.keys():
        package = find_spec("lpips")  # not imported: it needs torchvision
        places = package.submodule_search_locations if package else None
        if not places:
            raise SettingsError(
                f"setting {setting}: {path} has no heads of LPIPS ({HEADS[0]}...), and the package that carries them "
                "is not installed; `pip install --no-deps lpips==0.1.4`, or leave the setting out"
            )
        weights |= _read(Path(places[0]) / "weights" / "v0.1" / "alex.pth", setting)
    needed = {f"features.{number}.{part}" for number in CONVOLUTIONS for part in ("weight", "bias")} | {*HEADS}
    if not needed <= weights.keys():
        raise SettingsError(
            f"setting {setting}: {path} is not AlexNet: it lacks {min(needed - weights.keys())}; name the file that "
            "torchvision publishes (alexnet-owt-7be5be79.pth)"
        )
    return {key: weights[key].float() for key in needed}


def _read(path: Path, setting: str) -> Weights:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise SettingsError(f"setting {setting}: {path}: not found; name the weights' file") from None
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise SettingsError(f"setting {setting}: {path}: no weights ({first}); name another file") from None
    except Exception as error:  # unpickling that is held to weights raises anything on other files
        raise SettingsError(
            f"setting {setting}: {path}: no weights ({type(error).__name__}); name another file"
        ) from None


def _features(weights: Weights, pixels: Pixels) -> "list[Tensor]":
    import torch

    least = min(pixels.shape[:2])
    if least < SMALLEST:
        pixels = np.asarray(cv2.resize(pixels, None, fx=SMALLEST / least, fy=SMALLEST / least), np.uint8)
    scaled = (pixels.astype(np.float32) / 127.5 - 1 - SHIFT) / SCALE
    return _trunk(weights, torch.from_numpy(scaled).permute(2, 0, 1)[None].contiguous())


def _trunk(weights: Weights, x: "Tensor") -> "list[Tensor]":
    """Return AlexNet's five maps of scaled pictures (N, 3, H, W)."""
    from torch.nn import functional as F  # noqa: N812

    found = []
    for number, (stride, padding) in CONVOLUTIONS.items():
        if number in POOLED_BEFORE:
            x = F.max_pool2d(x, 3, 2)
        x = F.relu(
            F.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], stride, padding)
        )
        found.append(x)
    return found


def _unit(x: "Tensor") -> "Tensor":
    """Return features of unit length at each place."""
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
