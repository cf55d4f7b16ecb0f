"""What a backbone is shown beside the noise: the draft, the reference, and the instruction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.backbones import Backbone, Text


class Encoder(Protocol):
    """What makes latents and prompts: a backbone, or its cache."""

    def encode(self, pictures: Tensor) -> Tensor: ...

    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text: ...


@dataclass(frozen=True)
class Shown:
    """Latents of draft and reference, (B, C, h, w) each, and the words. No reference: the model is blind."""

    draft: Tensor
    reference: Tensor | None
    text: Text

    def velocity(self, backbone: Backbone, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Return the velocity at `noisy` (B, C, h, w), levels (B,)."""
        return backbone.velocity(noisy, self.draft, self.reference, self.text, sigma)

    def rows(self, chosen: Tensor) -> "Shown":
        """Return some rows of it, each as often as it is named."""
        reference = None if self.reference is None else self.reference[chosen]
        return Shown(self.draft[chosen], reference, self.text.rows(chosen))


def show(encoder: Encoder, blind: bool, instructions: Sequence[str], draft: Tensor, reference: Tensor) -> Shown:
    """Return what a backbone is shown, of pictures float32 (B, 3, H, W), 0..1; the reference's size is its own."""
    looked_at = [draft] if blind else [draft, reference]
    with torch.no_grad():
        beside = None if blind else encoder.encode(reference)
        return Shown(encoder.encode(draft), beside, encoder.prompt(instructions, looked_at))


def pictures(pixels: Tensor, device: torch.device) -> Tensor:
    """Return uint8 pictures as float32, 0..1."""
    return pixels.to(device).float() / 255
