"""The backbone `flux2_klein`: FLUX.2-klein, which takes several pictures as they are.

Its latents are patches of two by two cells already, a token each. Position ids have a fourth axis, which counts words;
the pictures after the noise lie at 10, 20, ... of the first.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from schemas.training import Klein
from training.backbones import Text
from training.backbones.pipelines import attention_and_feed_forward, dtype_of, load
from training.backbones.tokens import grid, patches, unpatch
from training.backbones.within import within

APART = 10  # of two pictures along the first axis


class Flux2KleinBackbone:
    """See `training.backbones.Backbone`; `pipeline` is a Flux2KleinPipeline, whose parts stay where they are."""

    name = "flux2_klein"

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.transformer: nn.Module = pipeline.transformer
        self.lora_targets = attention_and_feed_forward(self.transformer)
        self.multiple = 2 * pipeline.vae_scale_factor
        norm = pipeline.vae.bn
        self.mean = norm.running_mean.float().view(1, -1, 1, 1)
        self.std = (norm.running_var.float() + pipeline.vae.config.batch_norm_eps).sqrt().view(1, -1, 1, 1)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents, float32 (B, 128, H/16, W/16), of mean 0 and deviation 1 by channel."""
        vae = self.pipeline.vae
        latents = vae.encode((pictures * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mode().float()
        packed = F.pixel_unshuffle(latents, 2)
        normal: Tensor = (packed - self.mean.to(packed.device)) / self.std.to(packed.device)
        return normal.to(pictures.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures, float32 (B, 3, H, W), 0..1."""
        vae = self.pipeline.vae
        packed = latents.float() * self.std.to(latents.device) + self.mean.to(latents.device)
        pictures: Tensor = vae.decode(F.pixel_shuffle(packed, 2).to(vae.device, vae.dtype), return_dict=False)[0]
        return within(pictures.float() / 2 + 0.5).to(latents.device)

    @torch.no_grad()
    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        """Return embeddings (B, 512, D) from three layers of the language model."""
        tokens, _ = self.pipeline.encode_prompt(list(instructions), device=self.pipeline.text_encoder.device)
        return Text(tokens)

    def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        """Return the velocity, like `noisy`."""
        row = [noisy, input] if reference is None else [noisy, input, reference]
        dtype, device = dtype_of(self.transformer), noisy.device
        tokens = text.tokens.to(device, dtype)
        ids = torch.cat([grid(APART * number, *latents.shape[2:]) for number, latents in enumerate(row)])
        words = torch.zeros(tokens.shape[1], 4)
        words[:, 3] = torch.arange(tokens.shape[1])
        answer: Tensor = self.transformer(
            hidden_states=torch.cat([patches(latents, 1) for latents in row], dim=1).to(dtype),  # (B, N, 128)
            encoder_hidden_states=tokens,
            timestep=sigma,
            guidance=None,
            img_ids=F.pad(ids, (0, 1)).to(device),
            txt_ids=words.to(device),
            return_dict=False,
        )[0]
        height, width = noisy.shape[2:]
        return unpatch(answer[:, : height * width], height, width, 1).to(noisy.dtype)


def open_flux2_klein(settings: Klein) -> Flux2KleinBackbone:
    """Return the backbone with the weights that the settings name. Raises SettingsError where they do not load."""
    return Flux2KleinBackbone(load(settings, "flux2_klein", "Flux2KleinPipeline"))
