"""How true an answer is to the ground truth: in the whole, inside the mask and outside it.

A metric whose weights are not at hand is not computed: it has no number, and the run's record says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark.cases import Case
from schemas.benchmark import Weights
from schemas.errors import SettingsError
from schemas.ids import digest, sha256
from schemas.records import Mask, Photo, Pixels
from tasks.engines.dreamsim import SIDE, describe, load_dreamsim
from tasks.engines.likeness import psnr, ssim
from tasks.engines.load import load_embedder, load_lpips
from tasks.engines.pretrained import square_about
from tasks.engines.readable import readings, text_distance

VERSION = 1  # of the formulas: what was measured by another one is measured anew

SEAM = 3  # px on each side of the mask's border
SEAM_SMOOTH = 1.0  # px: noise is no seam


@dataclass(frozen=True)
class Metric:
    """A figure of an answer: what it is called, which end is the better one, and whose weights it needs."""

    title: str
    better: Literal["high", "low"]
    needs: str | None = None  # a key of Weights


METRICS: Mapping[str, Metric] = {
    "psnr": Metric("PSNR, dB", "high"),
    "psnr_inside": Metric("PSNR inside, dB", "high"),
    "psnr_outside": Metric("PSNR outside, dB", "high"),
    "ssim": Metric("SSIM", "high"),
    "ssim_inside": Metric("SSIM inside", "high"),
    "ssim_outside": Metric("SSIM outside", "high"),
    "mse_outside": Metric("MSE outside", "low"),
    "seam": Metric("seam", "low"),
    "text": Metric("text read right", "high"),
    "lpips": Metric("LPIPS", "low", "lpips"),
    "lpips_inside": Metric("LPIPS inside", "low", "lpips"),
    "lpips_outside": Metric("LPIPS outside", "low", "lpips"),
    "dreamsim": Metric("DreamSim", "low", "dreamsim"),
    "dreamsim_inside": Metric("DreamSim inside", "low", "dreamsim"),
    "clip": Metric("CLIP-I", "high", "clip"),
    "clip_inside": Metric("CLIP-I inside", "high", "clip"),
    "dino": Metric("DINO-I", "high", "dino"),
    "dino_inside": Metric("DINO-I inside", "high", "dino"),
}


def measure(case: Case, answer: Pixels, weights: Weights) -> dict[str, float | None]:
    """Return every metric of an answer (H, W, 3); null where it is not computed, or there is nothing to compute.

    There is no `text` where no text is read in the ground truth, nothing inside an empty mask, nothing outside a full
    one.
    """
    target, mask = case.target, case.problem.mask
    found: dict[str, float | None] = dict.fromkeys(METRICS)
    for place, where in (("", None), ("_inside", mask), ("_outside", ~mask)):
        if where is None or where.any():
            found[f"psnr{place}"] = psnr(answer, target, where)
            found[f"ssim{place}"] = ssim(answer, target, where)
    if not mask.all():
        found["mse_outside"] = mse(answer, target, ~mask)
    if mask.any():
        found["seam"] = seam(answer, target, mask)
        found["text"] = text_read(case, answer)
    everywhere = np.ones_like(mask)
    for name, compare in _compared(weights).items():
        found[name] = compare(target, answer, everywhere)
        if mask.any():
            found[f"{name}_inside"] = compare(target, answer, mask)
    if weights.lpips is not None and not mask.all():
        found["lpips_outside"] = load_lpips(weights.lpips)(target, answer, ~mask)
    return found


def not_computed(weights: Weights) -> dict[str, str]:
    """Return the metrics that are not computed, with the reason."""
    return {
        name: f"no weights: --set weights.{metric.needs}=PATH"
        for name, metric in METRICS.items()
        if metric.needs and getattr(weights, metric.needs) is None
    }


def identity(weights: Weights) -> str:
    """Return the digest of what decides the figures. Raises SettingsError where weights are named and not there."""
    named = {name: path for name, path in weights if path is not None}
    told = {name: _digest_of(path, name) for name, path in named.items()}
    _compared(weights)
    return digest("metrics", VERSION, told)


def mse(first: Pixels, second: Pixels, mask: Mask) -> float:
    """Return the mean squared error (levels of 0..255, squared) over a mask (H, W) and the three channels."""
    return float(np.square(first[mask].astype(np.float64) - second[mask]).mean())


def seam(answer: Pixels, target: Pixels, mask: Mask) -> float:
    """Return how visible the mask's border is (CIELAB units a pixel; 0: not at all).

    Along the border, SEAM px to each side, the slope of what differs from the truth: a patch of another colour or light
    ends there in a step, however faithful it is within.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * SEAM + 1,) * 2)
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), *(SEAM,) * 4, cv2.BORDER_REPLICATE)
    wide, narrow = cv2.dilate(padded, disc), cv2.erode(padded, disc)
    band = (wide > narrow)[SEAM:-SEAM, SEAM:-SEAM]
    if not band.any():
        return 0.0
    apart = cv2.GaussianBlur(_lab(answer) - _lab(target), (0, 0), SEAM_SMOOTH)
    slopes = [cv2.Sobel(apart, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    return float(np.sqrt(sum(np.square(slope).sum(axis=-1) for slope in slopes))[band].mean(dtype=np.float64))


def text_read(case: Case, answer: Pixels) -> float | None:
    """Return the share of signs (0..1) that are read right at the mask; None where the truth bears no text there."""
    photo = Photo(sha256(case.target.tobytes()), case.target)
    found = readings(photo, answer, case.problem.mask, case.problem.category)
    if found is None or not found[0]:
        return None
    return 1 - text_distance(*found)


def _lab(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


Compare = Callable[[Pixels, Pixels, Mask], float]


def _compared(weights: Weights) -> dict[str, Compare]:
    """Return what compares two pictures about a mask, as far as weights are named."""
    found: dict[str, Compare] = {}
    if weights.lpips is not None:
        found["lpips"] = load_lpips(weights.lpips)
    for name in ("clip", "dino"):
        folder = getattr(weights, name)
        if folder is not None:
            found[name] = load_embedder(folder).likeness
    if weights.dreamsim is not None:
        found["dreamsim"] = _dreamsim(weights.dreamsim)
    return found


def _dreamsim(folder: Path) -> Compare:
    """Return DreamSim's distance (Fu et al., NeurIPS 2023) about a mask. Raises SettingsError where it is not there."""
    import torch

    load_dreamsim(folder, "cpu")

    def compare(first: Pixels, second: Pixels, mask: Mask) -> float:
        box = square_about(mask)
        pictures = [cv2.resize(np.ascontiguousarray(one[box]), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                    for one in (first, second)]  # fmt: skip
        one, other = describe(folder, torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255)
        return max(0.0, 1 - float(one @ other))

    return compare


def _digest_of(path: Path, name: str) -> str:
    """Return the digest of a file, or of all files of a folder. Raises SettingsError where there is none."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    try:
        if not files:
            raise FileNotFoundError(2, "there are no weights")
        return digest(*([str(file.relative_to(path)), _sha256(file)] for file in files))
    except OSError as error:
        what = f"setting weights.{name}: {path}: {error.strerror}"
        raise SettingsError(f"{what}; name the weights, or leave it out") from None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def values_of(rows: list[dict[str, Any]], metric: str) -> NDArray[np.float64]:
    """Return a metric of rows (N,), not-a-number where it has none."""
    return np.array([np.nan if row[metric] is None else row[metric] for row in rows], np.float64)
