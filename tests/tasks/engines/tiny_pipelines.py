"""Editing pipelines of the supported classes, tiny and of random weights: they paint nonsense, but by the real code."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

WIDTH = 16  # of the text encoders and of one attention head
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALPHABET = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def flux_kontext(folder: Path) -> Path:
    """Save a tiny FluxKontextPipeline into `folder`, and return it."""
    torch.manual_seed(0)
    words = _words(77)
    pipeline = FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKL(
            latent_channels=4, shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False,
            **_convolutions("DownEncoderBlock2D", "UpDecoderBlock2D"),
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words), hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH,
                num_hidden_layers=1, num_attention_heads=1,
            )
        ),
        tokenizer=words,
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(words), d_model=WIDTH, d_kv=WIDTH, d_ff=WIDTH, num_layers=1, num_heads=1)
        ),
        tokenizer_2=_words(512),
        transformer=FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=WIDTH, num_attention_heads=2,
            joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 6, 6), guidance_embeds=True,
        ),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def qwen_image_edit_plus(folder: Path) -> Path:
    """Save a tiny QwenImageEditPlusPipeline into `folder`, and return it."""
    torch.manual_seed(0)
    words = _qwen_words()
    ids = {token: words.convert_tokens_to_ids(token) for token in VISION}
    text = {
        "vocab_size": len(words), "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    sight = {
        "depth": 1, "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_heads": 1, "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    reader = Qwen2_5_VLConfig(
        text_config=text, vision_config=sight, image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    pipeline = QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(reader),
        tokenizer=words,
        processor=Qwen2VLProcessor(
            image_processor=Qwen2VLImageProcessor(), tokenizer=words, chat_template=CHAT
        ),
        transformer=QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=1, attention_head_dim=WIDTH, num_attention_heads=1,
            joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6),
        ),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def flux2_klein(folder: Path) -> Path:
    """Save a tiny Flux2KleinPipeline into `folder`, and return it."""
    torch.manual_seed(0)
    words = _qwen_words()
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(latent_channels=4, **_convolutions("DownEncoderBlock2D", "UpDecoderBlock2D")),
        text_encoder=Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(words), hidden_size=WIDTH, intermediate_size=WIDTH, head_dim=WIDTH,
                num_hidden_layers=28, num_attention_heads=1, num_key_value_heads=1,
            )  # the pipeline reads layers 9, 18 and 27
        ),
        tokenizer=words,
        transformer=Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=WIDTH, num_attention_heads=2,
            joint_attention_dim=3 * WIDTH, timestep_guidance_channels=WIDTH, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def _convolutions(down: str, up: str) -> dict[str, Any]:
    return {
        "down_block_types": (down,) * 2, "up_block_types": (up,) * 2, "block_out_channels": (8, 8),
        "layers_per_block": 1, "norm_num_groups": 4,
    }  # fmt: skip


def _words(length: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes: any text is known to it."""
    bytes_ = Tokenizer(models.BPE(vocab=ALPHABET, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_, eos_token=END, pad_token=END, model_max_length=length,
    )  # fmt: skip


def _qwen_words() -> Qwen2Tokenizer:
    words = Qwen2Tokenizer(vocab=ALPHABET, merges=[], unk_token=END, eos_token=STOP, pad_token=END)
    words.add_tokens([AddedToken(token, special=True) for token in (START, STOP, *VISION)])
    words.chat_template = CHAT
    return words
