"""The backbone `qwen_image_edit`: Qwen-Image-Edit, which takes several pictures as they are.

Its text encoder sees draft and reference beside the instruction. The transformer lays each picture about its own
middle, so that pictures of different sizes lie in one frame, and tells them apart by their number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from schemas.training import QwenImageEdit
from training.backbones import Text
from training.backbones.pipelines import attention_and_feed_forward, dtype_of, load
from training.backbones.tokens import patches, unpatch
from training.backbones.within import within

UNREAD = ("add_q_proj", "to_add_out", "txt_mlp")  # in the last block, of whose words nothing is made


class QwenImageEditBackbone:
    """See `training.backbones.Backbone`; `pipeline` is a QwenImageEditPlusPipeline, whose parts stay where they are."""

    name = "qwen_image_edit"

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.transformer: nn.Module = pipeline.transformer
        last = f"transformer_blocks.{len(pipeline.transformer.transformer_blocks) - 1}."
        self.lora_targets = tuple(
            name
            for name in attention_and_feed_forward(self.transformer)
            if not (name.startswith(last) and any(part in name for part in UNREAD))
        )
        self.multiple = 2 * pipeline.vae_scale_factor
        self.mean, self.std = (
            torch.tensor(values).view(1, -1, 1, 1, 1)
            for values in (pipeline.vae.config.latents_mean, pipeline.vae.config.latents_std)
        )

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents, float32 (B, 16, H/8, W/8), of mean 0 and deviation 1 by channel."""
        vae = self.pipeline.vae
        frames = (pictures * 2 - 1).unsqueeze(2)  # a film of one picture
        latents = vae.encode(frames.to(vae.device, vae.dtype)).latent_dist.mode().float()
        normal: Tensor = (latents - self.mean.to(latents.device)) / self.std.to(latents.device)
        return normal.squeeze(2).to(pictures.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures, float32 (B, 3, H, W), 0..1."""
        vae = self.pipeline.vae
        frames = latents.float().unsqueeze(2)
        frames = frames * self.std.to(frames.device) + self.mean.to(frames.device)
        pictures: Tensor = vae.decode(frames.to(vae.device, vae.dtype), return_dict=False)[0][:, :, 0]
        return within(pictures.float() / 2 + 0.5).to(latents.device)

    @torch.no_grad()
    def prompt(self, instructions: Sequence[str], pictures: Sequence[Tensor] = ()) -> Text:
        """Return embeddings (B, L, D) of what the encoder makes of each instruction and its own row of the pictures.

        One row a call, as the pipeline does it; shorter rows are filled up.
        """
        rows = [self._row(one, [some[number] for some in pictures]) for number, one in enumerate(instructions)]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
        return Text(tokens, seen=torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None])

    def velocity(self, noisy: Tensor, input: Tensor, reference: Tensor | None, text: Text, sigma: Tensor) -> Tensor:
        """Return the velocity, like `noisy`."""
        row = [noisy, input] if reference is None else [noisy, input, reference]
        dtype, device = dtype_of(self.transformer), noisy.device
        shapes = [(1, latents.shape[2] // 2, latents.shape[3] // 2) for latents in row]
        assert text.seen is not None
        answer: Tensor = self.transformer(
            hidden_states=torch.cat([patches(latents, 2) for latents in row], dim=1).to(dtype),  # (B, N, 64)
            encoder_hidden_states=text.tokens.to(device, dtype),
            encoder_hidden_states_mask=None if text.seen.all() else text.seen.to(device),
            timestep=sigma,
            img_shapes=[shapes] * len(noisy),
            return_dict=False,
        )[0]
        _, height, width = shapes[0]
        return unpatch(answer[:, : height * width], height, width, 2).to(noisy.dtype)

    def _row(self, instruction: str, pictures: Sequence[Tensor]) -> Tensor:
        """Return the embeddings (L, D) of an instruction beside pictures (3, H, W)."""
        from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwen

        shown = []
        for picture in pictures:
            pixels = (picture.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
            width, height = qwen.calculate_dimensions(qwen.CONDITION_IMAGE_SIZE, pixels.shape[1] / pixels.shape[0])
            shown.append(self.pipeline.image_processor.resize(Image.fromarray(pixels), height, width))
        device = self.pipeline.text_encoder.device
        tokens: Tensor = self.pipeline.encode_prompt([instruction], image=shown or None, device=device)[0]
        return tokens[0]


def open_qwen_image_edit(settings: QwenImageEdit) -> QwenImageEditBackbone:
    """Return the backbone with the weights that the settings name. Raises SettingsError where they do not load."""
    return QwenImageEditBackbone(load(settings, "qwen_image_edit", "QwenImageEditPlusPipeline"))
