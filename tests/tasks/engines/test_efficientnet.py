"""What small pictures look like in batches is what a photo's maps say of each."""

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.ids import stream
from tasks.engines.efficientnet import describe, feature_maps


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
