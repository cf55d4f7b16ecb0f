"""A hook for a classifier of one's own that says how unsafe a photo is: an ONNX file, which holds no code to be run."""

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from schemas.errors import SettingsError
from schemas.records import EngineFailure, Pixels

SIDE = 224  # px, where the classifier leaves its size open


def unsafe(classifier: Any, pixels: Pixels) -> float:
    """Return the probability (0..1) that a photo (H, W, 3) is unsafe, as the classifier says.

    Raises EngineFailure where it answers anything else.
    """
    (given,) = classifier.get_inputs()
    height, width = (side if isinstance(side, int) and side > 0 else SIDE for side in given.shape[2:])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    answer = np.asarray(classifier.run(None, {given.name: np.ascontiguousarray(small.transpose(2, 0, 1)[None])})[0])
    if answer.size != 1 or not 0 <= float(answer.item()) <= 1:
        said = np.array2string(answer.ravel()[:4], precision=3)
        raise EngineFailure(f"score.safety: the classifier answers {said}, not one probability")
    return float(answer.item())


@cache
def load_classifier(path: Path) -> Any:
    """Return the classifier at `path`: one input (1, 3, H, W) float32 RGB in 0..1, a first output of one probability.

    Read once a process. Raises SettingsError where it is missing or takes something else.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        data = path.read_bytes()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise SettingsError(f"setting score.safety: {path}: {error.strerror}; name an ONNX file") from None
    except Exception as error:  # its exceptions have no type in common
        first = str(error).splitlines()[0][:200]
        raise SettingsError(
            f"setting score.safety: {path}: no classifier in ONNX ({first}); name another file"
        ) from None
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else None
    if shape is None or len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        raise SettingsError(
            f"setting score.safety: {path} takes {[(one.name, one.shape) for one in inputs]}; name a classifier of one "
            "picture, (1, 3, H, W) float32 in 0..1"
        )
    return session
