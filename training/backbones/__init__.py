"""The models that can be trained: each sees the picture to be made, the draft and the reference, side by side.

All of them put their image tokens in one row, [noise | input | reference], tell the three apart by the first of three
position ids, and let every token attend to every other (the paper's method figure).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Text:
    """What is known of instructions, one row each. What the fields hold is their backbone's matter."""

    tokens: Tensor  # (B, L, D) embeddings, or (B, L) numbers of words
    pooled: Tensor | None = None  # (B, P): a whole instruction in one vector
    seen: Tensor | None = None  # bool (B, L): False where a row is only filled up, and not to be looked at

    def rows(self, chosen: Tensor) -> "Text":
        """Return some rows, each as often as it is named."""
        pooled, seen = (None if one is None else one[chosen] for one in (self.pooled, self.seen))
        return Text(self.tokens[chosen], pooled, seen)


class Backbone(Protocol):
    """A model of the velocity v = noise - x0 (`training/flow.py`) in the latent space of its own autoencoder."""

    name: str
    transformer: nn.Module  # what is trained, whole or by LoRA; it has `enable_gradient_checkpointing()`
    lora_targets: tuple[str, ...]  # its linear layers that LoRA goes to: attention and feed-forward
    multiple: int  # pixels that height and width must be a multiple of

    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents (B, C, h, w) of pictures, float32 (B, 3, H, W), 0..1. No gradient."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures, float32 (B, 3, H, W), 0..1, of latents. Gradients reach the latents."""

    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        """Return what the transformer is told of instructions, a row each. No gradient.

        `pictures` are the draft and, where there is one, the reference, float32 (B, 3, H, W), 0..1, for a text encoder
        that sees: Qwen's. The others do not look at them.
        """

    def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        """Return the velocity, like `noisy`, at levels (B,), given the latents of draft and reference.

        `input` is like `noisy`; the reference may be of another size. Without one: the model that sees none.
        """
