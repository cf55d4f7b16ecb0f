from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from schemas.ids import stream
from schemas.records import Mask, Pixels
from schemas.training import Data, Refine
from training.backbones import Text
from training.refine import refine


class Copyist:
    """A backbone of pixels that knows one thing: the picture to be made is the reference."""

    name = "copyist"
    multiple = 1
    lora_targets: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.transformer: nn.Module = nn.Linear(1, 1)
        self.seen: list[Tensor] = []
        self.told: list[str] = []

    def encode(self, pictures: Tensor) -> Tensor:
        self.seen.append(pictures)
        return pictures

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(0, 1)

    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        self.told += instructions
        return Text(torch.zeros(len(instructions), 1))

    def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        assert reference is not None
        return (noisy - reference) / sigma.view(-1, 1, 1, 1)


def photo(height: int = 240, width: int = 320) -> Pixels:
    """A picture with detail to be found again."""
    coarse = stream(5, "photo").integers(30, 220, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1))


def spot(pixels: Pixels, top: int = 96, left: int = 120, side: int = 48) -> Mask:
    mask = np.zeros(pixels.shape[:2], bool)
    mask[top : top + side, left : left + side] = True
    return mask


def spoilt(pixels: Pixels, mask: Mask) -> Pixels:
    return np.where(mask[..., None], np.uint8(128), pixels)


SETTINGS = Refine(steps=2, feather=4)


def test_what_the_reference_shows_comes_into_the_mask_and_nothing_else_changes() -> None:
    target = photo()
    mask = spot(target)
    draft, backbone = spoilt(target, mask), Copyist()
    refined = refine(backbone, SETTINGS, Data(size=128), 0, draft, target, "Restore the pattern.", mask)
    assert backbone.told == ["Restore the pattern."]
    beyond = ~np.asarray(spot(target, 96 - 5, 120 - 5, 48 + 10))
    assert np.array_equal(refined[beyond], draft[beyond])
    error = np.abs(refined[mask].astype(int) - target[mask]).mean()
    assert error < 0.5 * np.abs(draft[mask].astype(int) - target[mask]).mean()


def test_the_region_is_looked_at_closely_and_in_the_middle() -> None:
    target = photo()
    mask = spot(target)
    marked = target.copy()
    marked[mask] = (255, 0, 0)
    backbone = Copyist()
    refine(backbone, SETTINGS, Data(size=128), 0, marked, target, "x", mask)
    red = (backbone.seen[0][0] - torch.tensor([1.0, 0, 0])[:, None, None]).abs().amax(dim=0) < 0.05
    assert red.float().mean() > 4 * mask.mean()  # of the crop, against of the picture
    rows, columns = red.nonzero().float().mean(dim=0)
    assert abs(rows / red.shape[0] - 0.5) < 0.05
    assert abs(columns / red.shape[1] - 0.5) < 0.05


@pytest.mark.parametrize("size", [(240, 320), (333, 200), (97, 131)])
def test_without_a_mask_the_whole_picture_is_made_anew_in_its_own_size(size: tuple[int, int]) -> None:
    target = photo(400, 400)[: size[0], : size[1]]
    for mask in (None, np.zeros(size, bool)):
        refined = refine(Copyist(), SETTINGS, Data(size=256), 0, np.full_like(target, 128), target, "x", mask)
        assert refined.shape == target.shape
        assert np.abs(refined.astype(int) - target).mean() < 12  # it was brought to another size and back


def test_a_mask_at_the_edge_and_one_of_a_single_pixel_are_refined() -> None:
    target = photo()
    for mask in (spot(target, 0, 0, 20), spot(target, 239, 319, 1), np.ones(target.shape[:2], bool)):
        refined = refine(Copyist(), SETTINGS, Data(size=64), 0, spoilt(target, mask), target, "x", mask)
        assert refined.shape == target.shape
        assert not np.array_equal(refined[mask], spoilt(target, mask)[mask])


def test_what_is_not_a_number_is_black() -> None:
    class Broken(Copyist):
        def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
            return noisy * torch.nan

    target = photo()
    mask = spot(target)
    refined = refine(Broken(), SETTINGS, Data(size=64), 0, target, target, "x", mask)
    assert refined[mask].max() == 0


def test_a_blind_model_is_shown_no_reference() -> None:
    class Blind(Copyist):
        def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
            assert reference is None
            return (noisy - input) / sigma.view(-1, 1, 1, 1)

    truth = photo()
    mask = spot(truth)
    draft, backbone = spoilt(truth, mask), Blind()
    refined = refine(backbone, SETTINGS, Data(size=256), 0, draft, truth, "mend it", mask, blind=True)
    assert len(backbone.seen) == 1
    assert np.abs(refined.astype(int) - draft)[mask].mean() < 1  # which is what it answers with
