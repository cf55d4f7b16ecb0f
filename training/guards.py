"""Is a run being led astray? A policy that is paid for rewards finds ways to get them that nobody meant.

Each step's samples are measured for the ways that are known: the surroundings spoilt, edges made harsh, the grid of
tokens showing, the reference copied in, all samples of a group alike. A run stops when the mean of its last steps has
left that of its first ones too far behind; what that takes stands in its metrics, so a resumed run stops as well.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from schemas.training import Guards

NAMES = ("outside", "sharpness", "grid", "copied", "diversity")
LEAST = 1e-6  # that is divided by


@torch.no_grad()
def watch(samples: Tensor, truth: Tensor, reference: Tensor, mask: Tensor, period: int) -> Tensor:
    """Return a step's figures in the order of NAMES, float32 (5,), each the mean over samples.

    Of samples (B, G, 3, H, W), 0..1, their truths and references (B, 3, H, W), and masks (B, 1, H, W).

    `outside`: PSNR outside the mask, dB. `sharpness`: mean of |Laplacian| within it, over the truth's. `grid`: how much
    larger steps of the error are across the borders of tokens, `period` px apart, than elsewhere. `copied`: correlation
    within the mask with the reference's crop, beyond the truth's own. `diversity`: root mean square deviation from the
    group's mean within the mask. NaN where nothing says
    (there is no mask, say).
    """
    inside = mask.float()
    mean = samples.nan_to_num().float()
    flat, count = mean.flatten(0, 1), samples.shape[1]
    many = [one.repeat_interleave(count, dim=0) for one in (truth, inside)]
    error = flat - many[0]
    outside = _mean(error.square(), 1 - many[1])
    sharp = _mean(_edges(flat), many[1]) / _mean(_edges(many[0]), many[1]).clamp(min=LEAST)
    beside = F.interpolate(reference, truth.shape[2:], mode="bilinear", antialias=True)
    like = _correlation(flat, beside.repeat_interleave(count, dim=0), many[1])
    own = _correlation(truth, beside, inside).repeat_interleave(count)
    spread = (mean - mean.mean(dim=1, keepdim=True)).square().mean(dim=1)  # (B, 3, H, W)
    figures = {
        "outside": -10 * outside.clamp(min=1e-10).log10(),
        "sharpness": sharp,
        "grid": _grid(error, period),
        "copied": like - own,
        "diversity": _mean(spread, inside).sqrt(),
    }
    return torch.stack([figures[name].nanmean() for name in NAMES])


def tripped(guards: Guards, lines: Sequence[dict[str, Any]]) -> str | None:
    """Return in words what has gone off, by the metrics of all steps so far; None while nothing has."""
    for name in NAMES:
        values = [line[f"guard_{name}"] for line in lines if f"guard_{name}" in line]
        if len(values) < 2 * guards.over:
            continue
        first, last = (sum(part) / guards.over for part in (values[: guards.over], values[-guards.over :]))
        told = f"{name} was {first:.3g} in the first {guards.over} steps and is {last:.3g} in the last"
        match name:
            case "outside" if last < first - guards.outside:
                return f"surroundings are being spoilt: {told} (dB; guards.outside = {guards.outside})"
            case "sharpness" if not 1 / guards.sharpness < last / max(first, LEAST) < guards.sharpness:
                return f"samples are getting {'harsh' if last > first else 'blurred'}: {told}"
            case "grid" if last > first * guards.grid:
                return f"the grid of tokens is showing: {told}"
            case "copied" if last > first + guards.copied:
                return f"the reference is being copied in: {told}"
            case "diversity" if last < first * guards.diversity:
                return f"samples of a group have become one: {told}"
    return None


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the means of (N, C, H, W) over what a mask (N, 1, H, W) names, (N,); NaN where it names nothing."""
    return (values.mean(dim=1, keepdim=True) * where).sum(dim=(1, 2, 3)) / where.sum(dim=(1, 2, 3))


def _edges(pictures: Tensor) -> Tensor:
    kernel = pictures.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel, groups=3).abs()


def _correlation(one: Tensor, other: Tensor, where: Tensor) -> Tensor:
    """Return Pearson's correlation within a mask, over pixels and channels: (N,)."""
    area = 3 * where.sum(dim=(1, 2, 3), keepdim=True)
    one, other = ((x - (x * where).sum(dim=(1, 2, 3), keepdim=True) / area) * where for x in (one, other))
    product = (one * other).sum(dim=(1, 2, 3))
    return product / (one.square().sum(dim=(1, 2, 3)) * other.square().sum(dim=(1, 2, 3))).sqrt().clamp(min=LEAST)


def _grid(error: Tensor, period: int) -> Tensor:
    """Return the mean step of an error (N, 3, H, W) across the grid's lines, over that elsewhere: (N,)."""
    on, off = [], []
    for dim in (2, 3):
        steps = error.diff(dim=dim).abs().mean(dim=(1, 5 - dim))  # (N, H - 1) or (N, W - 1)
        line = torch.arange(1, steps.shape[1] + 1, device=error.device) % period == 0
        on.append(steps[:, line])
        off.append(steps[:, ~line])
    return torch.cat(on, dim=1).mean(dim=1) / torch.cat(off, dim=1).mean(dim=1).clamp(min=LEAST)
