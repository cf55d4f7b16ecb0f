"""The backbone `tiny`: a small transformer of Flux's shape within a U-Net, trained from scratch on a CPU.

It works on the latents of the tiny autoencoder where its weights are given, on pixels where not. It need not learn to
paint, only to look things up in the reference, and what can be known beforehand is built in: it answers by what to
change in the draft, and may say how much of the reference to copy there; draft and reference are embedded alike and lie
in one frame of coordinates, so that what matches is near; and what they show at the same place is looked at closely,
pixel by pixel, before and after the transformer (`training/backbones/unet.py`).
"""

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from schemas.ids import sha256
from schemas.training import Tiny
from tasks.engines.autoencoder import LATENT_STRIDE, decoded, encode, load_autoencoder
from training.backbones import Text
from training.backbones.pipelines import attention_and_feed_forward
from training.backbones.tokens import grid, patches
from training.backbones.unet import Down, Up
from training.backbones.within import within

LEAST = 0.05  # sigma that is divided by: below it, what is left of an error would outweigh all others
CHANNELS = 32  # of the autoencoder's latents
FASTEST, SLOWEST = 2.0, 0.05  # radians a token by which channels turn: pictures are some four to thirty tokens wide
SHARP = 1.4  # of queries and keys: twice as sharp as normed ones would look

Turns = tuple[Tensor, Tensor]  # cosines and sines, (N, d / 2), of the angles that a head's pairs of channels turn by


class TinyBackbone:
    """See `training.backbones.Backbone`. Raises EngineFailure where the autoencoder's weights cannot be read."""

    name = "tiny"

    def __init__(self, settings: Tiny) -> None:
        self.settings = settings
        self.autoencoder = load_autoencoder(settings.autoencoder) if settings.autoencoder else None
        stride = LATENT_STRIDE if self.autoencoder else 1
        channels = CHANNELS if self.autoencoder else 3
        self.multiple: int = settings.patch
        self.transformer: nn.Module = TinyTransformer(settings, channels, settings.patch // stride)
        self.lora_targets = attention_and_feed_forward(self.transformer)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents (B, 32, H/8, W/8), or without an autoencoder the pixels, -1..1 (B, 3, H, W)."""
        if self.autoencoder is None:
            return pictures * 2 - 1
        weights = self.autoencoder
        latents = [encode(weights, picture.permute(1, 2, 0).cpu().numpy()) for picture in pictures]
        return torch.from_numpy(np.stack(latents)).permute(0, 3, 1, 2).contiguous().to(pictures.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures, float32 (B, 3, H, W), 0..1."""
        if self.autoencoder is None:
            return within((latents.float() + 1) / 2)
        weights = {
            name: weight.to(latents.device) for name, weight in self.autoencoder.items() if name.startswith("decoder.")
        }
        return within(decoded(weights, latents.float()).float())

    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        """Return the numbers of the instructions' words, hashed: int64 (B, length), 0 where there is none."""
        rows = [[self._number(word) for word in re.findall(r"\w+", one.lower())] for one in instructions]
        length = self.settings.length
        tokens = torch.zeros(len(rows), length, dtype=torch.int64)
        for at, row in enumerate(rows):
            known = row[:length]
            tokens[at, : len(known)] = torch.tensor(known, dtype=torch.int64)
        device = next(self.transformer.parameters()).device
        return Text(tokens.to(device))

    def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        """Return the velocity, like `noisy`.

        The transformer answers by what the clean picture differs from the draft: nothing, where the draft is right. An
        untrained one answers nothing at all, and sampling gives back the draft. To answer with the velocity it would
        have to let all the noise through, for which its tokens are too narrow (Li and He 2025, JiT).
        """
        level = sigma.view(-1, 1, 1, 1)
        change: Tensor = self.transformer(noisy, input, reference, text, sigma)
        return (noisy - input - change) / level.clamp(min=LEAST)

    def _number(self, word: str) -> int:
        return 1 + int(sha256(word.encode())[:8], 16) % (self.settings.words - 1)


class TinyTransformer(nn.Module):
    """Blocks of attention and feed-forward over text and image tokens alike, each normed by what sigma says.

    About them convolutions, which lead from the pixels of draft and reference to tokens, and from these to pixels.
    """

    def __init__(self, settings: Tiny, channels: int, patch: int) -> None:
        super().__init__()
        width = settings.width
        self.patch, self.axes, self.channels = patch, _axes(width // settings.heads), channels
        self.words = nn.Embedding(settings.words, width)
        self.noise = nn.Linear(channels * patch**2, width)
        self.picture = nn.Linear(channels * patch**2, width)  # draft and reference alike
        self.kinds = nn.Parameter(torch.randn(4, width) * 0.1)  # text, noise, input, reference
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.down = Down(channels, patch, width)
        self.join = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, settings.heads) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.part = nn.Linear(width, width)
        self.up = Up(self.down.widths)
        self.head = _zeroed(nn.Conv2d(self.down.widths[0], (2 * channels + 1) * self.down.cell**2, 3, padding=1))
        self.gradient_checkpointing = False

    def enable_gradient_checkpointing(self) -> None:
        """Keep of each block of attention only what goes in, and compute the rest anew: less memory, more time."""
        self.gradient_checkpointing = True

    def forward(self, noise: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        """Return what is to be added, like `noise` (B, C, h, w)."""
        # blind, the draft stands beside itself: there is nothing to copy
        beside = input if reference is None else _like(reference, input)
        seen = self.down(input, beside)
        said = seen[-1] + self.part(self._tokens(seen[-1], noise, input, reference, text, sigma)).movedim(-1, 1)
        answer = F.pixel_shuffle(self.head(self.up(said, seen)), self.down.cell)
        painted, share, light = torch.split(answer, [self.channels, 1, self.channels], dim=1)
        change: Tensor = painted + share * (beside + light - input)
        return change

    def _tokens(
        self, seen: Tensor, noise: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor
    ) -> Tensor:
        """Return what attention makes of the picture's own tokens, (B, h/patch, w/patch, D)."""
        patch = self.patch
        height, width = noise.shape[2] // patch, noise.shape[3] // patch
        drafted = self.picture(patches(input, patch))
        rows = [
            self.words(text.tokens) + self.kinds[0],  # (B, L, D)
            self.noise(patches(noise, patch)) + self.join(seen.flatten(2).mT) + self.kinds[1],  # (B, h w / patch^2, D)
            drafted + self.kinds[2],
        ]
        ids = [torch.zeros(text.tokens.shape[1], 3), grid(0, height, width), grid(1, height, width)]
        if reference is not None:
            rows.append(self.picture(patches(reference, patch)) + self.kinds[3])
            rows_there, columns_there = reference.shape[2] // patch, reference.shape[3] // patch
            scale = torch.tensor([1, height / rows_there, width / columns_there])  # both pictures span the same frame
            ids.append(grid(2, rows_there, columns_there) * scale)
        x = torch.cat(rows, dim=1)
        turns = rotations(torch.cat(ids).to(x.device), self.axes)
        told = self.level(waves(sigma, x.shape[-1]).to(x.dtype))  # (B, D)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, told, turns, use_reentrant=False)
            else:
                x = block(x, told, turns)
        start = text.tokens.shape[1]
        own: Tensor = self.norm(x[:, start : start + height * width])
        return own.view(-1, height, width, own.shape[-1])


def _zeroed(head: nn.Conv2d) -> nn.Conv2d:
    """Let an untrained head say nothing."""
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


def _like(reference: Tensor, draft: Tensor) -> Tensor:
    """Return a reference (B, C, ...) at the size of a draft (B, C, h, w)."""
    return F.interpolate(reference.float(), draft.shape[2:], mode="bilinear", antialias=True).to(reference.dtype)


class Block(nn.Module):
    """Attention, then feed-forward, each on what adaptive norms make of the tokens (Peebles and Xie 2022, DiT)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.qkv = nn.Linear(width, 3 * width)
        self.norm_q = nn.RMSNorm(width // heads)
        self.norm_k = nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        look_nearby(self, heads // 2)

    def forward(self, x: Tensor, told: Tensor, turns: Turns) -> Tensor:
        """Return tokens like `x` (B, N, D), at a level told by `told` (B, D)."""
        norms: Tensor = self.modulation(F.silu(told))
        shift, scale, gate, shift2, scale2, gate2 = norms[:, None].chunk(6, dim=-1)  # (B, 1, D) each
        qkv = self.qkv(self.norm(x) * (1 + scale) + shift)
        q, k, v = qkv.view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, N, d) each
        q, k = turned(self.norm_q(q), turns), turned(self.norm_k(k), turns)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + (1 + gate) * self.out(seen)
        wide = F.gelu(self.up(self.norm(x) * (1 + scale2) + shift2), approximate="tanh")
        fed: Tensor = self.down(wide)
        return x + (1 + gate2) * fed


def look_nearby(block: Block, heads: int) -> None:
    """Let some heads of an untrained block look at the same place in every picture, whatever is there.

    Their queries and keys are all but constant, so that only rotation tells them apart. What to look for is learnt from
    there; without it a lookup takes twice as many steps to form.
    """
    width = block.out.in_features
    channels = width // block.heads * heads
    with torch.no_grad():
        for start in (0, width):  # of queries, of keys
            block.qkv.weight[start : start + channels] *= 0.1
            block.qkv.bias[start : start + channels] = 1
        block.norm_q.weight.fill_(SHARP)
        block.norm_k.weight.fill_(SHARP)


def waves(sigma: Tensor, width: int) -> Tensor:
    """Return levels (B,) as sines and cosines, float32 (B, width)."""
    rates = 1000 * torch.exp(-math.log(10_000) * torch.arange(width // 2, device=sigma.device) / (width // 2))
    angles = sigma.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotations(ids: Tensor, axes: Sequence[int]) -> Turns:
    """Return by what the channels of a head turn at position ids (N, 3)."""
    parts = []
    for axis, dim in enumerate(axes):
        rates = FASTEST * (SLOWEST / FASTEST) ** (torch.arange(dim // 2, device=ids.device) / max(dim // 2 - 1, 1))
        parts.append(ids[:, axis, None] * rates)
    angles = torch.cat(parts, dim=-1)
    return angles.cos(), angles.sin()


def turned(x: Tensor, turns: Turns) -> Tensor:
    """Return channels (B, H, N, d), whose first and second halves make pairs, turned."""
    cos, sin = turns[0].to(x.dtype), turns[1].to(x.dtype)
    one, other = x.chunk(2, dim=-1)
    return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)


def _axes(dim: int) -> tuple[int, int, int]:
    """Share a head's channels among the three position ids, an even number each."""
    first = dim // 4 // 2 * 2
    rest = (dim - first) // 4 * 2
    return dim - 2 * rest, rest, rest
