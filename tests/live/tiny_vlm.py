"""A vision-language model small enough to serve anywhere: Qwen2.5-VL's own architecture, 0.35 million random weights.

It answers nonsense, in whatever schema it is held to: good for testing what is between us and a server, never quality.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

LONGEST = 12288  # tokens
MOST_PATCHES = 16  # of 28 px, in a picture
WIDTH = 64

END, TURN, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION, VISION_ENDS, VISION_PAD = "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
SPECIAL = [END, TURN, TURN_ENDS, VISION, VISION_ENDS, VISION_PAD, IMAGE_PAD, VIDEO_PAD]

CHAT = f"""
{{%- for message in messages -%}}
{TURN}{{{{ message.role }}}}
{{% if message.content is string %}}{{{{ message.content }}}}{{% else %}}
{{%- for part in message.content -%}}
{{%- if part.type == "text" -%}}{{{{ part.text }}}}{{%- else -%}}{VISION}{IMAGE_PAD}{VISION_ENDS}{{%- endif -%}}
{{%- endfor -%}}
{{%- endif -%}}{TURN_ENDS}
{{% endfor -%}}
{{%- if add_generation_prompt -%}}{TURN}assistant
{{% endif -%}}
"""


def make_tiny_vlm(folder: Path) -> None:
    """Write a checkpoint that transformers and vLLM load, the same one every time."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    _amend(
        folder / "tokenizer_config.json", tokenizer_class="Qwen2TokenizerFast", processor_class="Qwen2_5_VLProcessor"
    )
    _amend(
        folder / "preprocessor_config.json",
        image_processor_type="Qwen2VLImageProcessor",
        processor_class="Qwen2_5_VLProcessor",
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        min_pixels=4 * 28 * 28,
        max_pixels=MOST_PATCHES * 28 * 28,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    ids = tokenizer.get_vocab()
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(_config(len(tokenizer), ids))
    model.generation_config.eos_token_id = ids[TURN_ENDS]
    model.generation_config.pad_token_id = ids[END]
    model.save_pretrained(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return one that knows the 256 bytes and no words: any text is taken, a byte a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    by_bytes = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    by_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    by_bytes.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=by_bytes,
        eos_token=TURN_ENDS,
        pad_token=END,
        additional_special_tokens=SPECIAL,
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT.strip("\n"),
    )


def _config(vocabulary: int, ids: dict[str, int]) -> Qwen2_5_VLConfig:
    small = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH}
    text = {
        **small,
        "vocab_size": vocabulary,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": LONGEST,
        "tie_word_embeddings": False,
        "bos_token_id": ids[END],
        "eos_token_id": ids[TURN_ENDS],
        "pad_token_id": ids[END],
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
    }
    vision = {
        **small,
        "depth": 2,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "in_channels": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids[IMAGE_PAD],
        video_token_id=ids[VIDEO_PAD],
        vision_start_token_id=ids[VISION],
        vision_end_token_id=ids[VISION_ENDS],
        tie_word_embeddings=False,
    )


def _amend(file: Path, **values: object) -> None:
    written = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(written | values, indent=1))
