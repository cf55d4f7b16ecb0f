"""The backbone `flux_kontext`: FLUX.1-Kontext with a second picture, as in the paper's figure.

Kontext's pipeline knows one picture. Its transformer takes a row of any tokens: here draft and reference both follow
the noise, told apart by the first position id. Without a reference this is Kontext as its pipeline runs it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schemas.training import Kontext
from training.backbones import Text
from training.backbones.pipelines import attention_and_feed_forward, dtype_of, load
from training.backbones.tokens import grid, patches, unpatch
from training.backbones.within import within

LENGTH = 512  # tokens of an instruction for T5


class FluxKontextBackbone:
    """See `training.backbones.Backbone`; `pipeline` is a FluxKontextPipeline, whose parts stay where they are."""

    name = "flux_kontext"

    def __init__(self, pipeline: Any, guidance: float | None) -> None:
        self.pipeline = pipeline
        self.transformer: nn.Module = pipeline.transformer
        self.lora_targets = attention_and_feed_forward(self.transformer)
        self.multiple = 2 * pipeline.vae_scale_factor
        self.guidance = guidance if pipeline.transformer.config.guidance_embeds else None

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents, float32 (B, 16, H/8, W/8), shifted and scaled as the transformer knows them."""
        vae = self.pipeline.vae
        latents = vae.encode((pictures * 2 - 1).to(vae.device, vae.dtype)).latent_dist.mode()
        scaled: Tensor = (latents.float() - vae.config.shift_factor) * vae.config.scaling_factor
        return scaled.to(pictures.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures, float32 (B, 3, H, W), 0..1."""
        vae = self.pipeline.vae
        unscaled = latents.float() / vae.config.scaling_factor + vae.config.shift_factor
        pictures: Tensor = vae.decode(unscaled.to(vae.device, vae.dtype), return_dict=False)[0]
        return within(pictures.float() / 2 + 0.5).to(latents.device)

    @torch.no_grad()
    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        """Return T5's embeddings (B, 512, D) and CLIP's pooled ones (B, P)."""
        tokens, pooled, _ = self.pipeline.encode_prompt(
            list(instructions), device=self.pipeline.text_encoder.device, max_sequence_length=LENGTH
        )
        return Text(tokens, pooled)

    def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        """Return the velocity, like `noisy`; ids [0, h, w] of the noise, [1, h, w] of the draft, [2, ...] after."""
        row = [noisy, input] if reference is None else [noisy, input, reference]
        dtype, device = dtype_of(self.transformer), noisy.device
        ids = [grid(kind, latents.shape[2] // 2, latents.shape[3] // 2) for kind, latents in enumerate(row)]
        tokens = text.tokens.to(device, dtype)
        assert text.pooled is not None
        answer: Tensor = self.transformer(
            hidden_states=torch.cat([patches(latents, 2) for latents in row], dim=1).to(dtype),  # (B, N, 64)
            encoder_hidden_states=tokens,
            pooled_projections=text.pooled.to(device, dtype),
            timestep=sigma,
            guidance=None if self.guidance is None else torch.full_like(sigma, self.guidance),
            img_ids=torch.cat(ids).to(device),
            txt_ids=torch.zeros(tokens.shape[1], 3, device=device),
            return_dict=False,
        )[0]
        height, width = noisy.shape[2] // 2, noisy.shape[3] // 2
        return unpatch(answer[:, : height * width], height, width, 2).to(noisy.dtype)


def open_flux_kontext(settings: Kontext) -> FluxKontextBackbone:
    """Return the backbone with the weights that the settings name. Raises SettingsError where they do not load."""
    return FluxKontextBackbone(load(settings, "flux_kontext", "FluxKontextPipeline"), settings.guidance)
