"""Lets torchvision be imported beside a torch for CPUs, in vLLM's environment for CPUs; a .pth file there imports this.

The wheel of torchvision is built for CUDA, so its C++ operators do not load, and describing their shapes to torch fails
at import for want of them. Here they are declared, and nothing more: what vLLM uses of torchvision is plain Python.
"""

import importlib.abc
import sys
from typing import Any

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds nothing; takes the first import of torchvision as the moment to declare its operators."""

    library: Any = None  # which takes its operators with it when it is freed

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == "torchvision" and self.library is None:
            from torch.library import Library

            BeforeTorchvision.library = Library("torchvision", "FRAGMENT")
            for operator in OPERATORS:
                self.library.define(operator)


sys.meta_path.insert(0, BeforeTorchvision())
