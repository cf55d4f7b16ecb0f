"""The editor `diffusers`: seconds a step, memory, and how much of the card's own matmul rate a step reaches.

The pipeline is a FLUX.1-Kontext of random weights, made on the device: width, layers and autoencoder as the real one
has them, or smaller. Only the text encoders are stand-ins, of one layer and the real ones' output sizes: they run once
an edit. Needs torch, diffusers, transformers and what tasks/engines/diffusion.py imports: no lake, Prefect or download.
"""

import argparse
import json
import resource
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from schemas.ids import stream
from schemas.records import Category, EditInstruction, Operation, Photo
from schemas.settings import Diffusers
from tasks.engines.diffusion import DiffusersEditor, place
from tasks.engines.editor import EditRequest

HEAD = 128  # of the transformer: FLUX's own
TEXT_TOKENS = 512
PATCH = 16  # px: a token's side


@dataclass(frozen=True)
class Size:
    """How large the model is; FLUX.1-Kontext-dev has 24 heads, 19 and 38 layers, and an autoencoder 128 wide."""

    heads: int
    layers: int
    single_layers: int
    autoencoder: int


@dataclass(frozen=True)
class Result:
    """What one size of photo took: medians over edits, seconds of a step within the transformer alone."""

    side: int
    batch: int
    seconds_a_step: float
    seconds_an_edit: float
    memory_gb: float  # peak: of the GPU's, or of the process where there is none
    tflops: float  # achieved in a step
    of_matmul: float  # share of the measured rate


def make_kontext(size: Size, dtype: torch.dtype, device: str) -> Any:
    """Return a FluxKontextPipeline of random weights, on its device."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxTransformer2DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    wide, before = size.autoencoder, torch.get_default_dtype()
    words = [_words(77), _words(TEXT_TOKENS)]
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            transformer = FluxTransformer2DModel(
                num_layers=size.layers, num_single_layers=size.single_layers, num_attention_heads=size.heads,
                attention_head_dim=HEAD, guidance_embeds=True,
            )  # fmt: skip
            vae = AutoencoderKL(
                block_out_channels=(wide, 2 * wide, 4 * wide, 4 * wide), layers_per_block=2, latent_channels=16,
                down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                norm_num_groups=min(32, wide), use_quant_conv=False, use_post_quant_conv=False,
                scaling_factor=0.3611, shift_factor=0.1159,
            )  # fmt: skip
            clip = CLIPTextModel(CLIPTextConfig(vocab_size=len(words[0]), hidden_size=768, num_hidden_layers=1))
            t5 = T5EncoderModel(T5Config(vocab_size=len(words[1]), d_model=4096, d_ff=1024, num_layers=1))
    finally:
        torch.set_default_dtype(before)
    return FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0), vae=vae, text_encoder=clip,
        tokenizer=words[0], text_encoder_2=t5, tokenizer_2=words[1], transformer=transformer,
    )  # fmt: skip


def _words(length: int) -> Any:
    """Return a tokenizer of single bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words = Tokenizer(models.BPE(vocab=letters, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<end>", pad_token="<end>", model_max_length=length
    )


def matmul_rate(dtype: torch.dtype, device: str) -> float:
    """Return the TFLOP/s of a large square matmul on the device: the best of ten."""
    side = 8192 if device.startswith("cuda") else 1024
    one, other = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = _now(device)
        torch.matmul(one, other)
        seconds.append(_now(device) - start)
    return 2 * side**3 / min(seconds) / 1e12


def step_flops(pipeline: Any, side: int, batch: int) -> float:
    """Return the floating point operations of a step on square photos, of the transformer's blocks alone."""
    size = pipeline.transformer.config
    tokens = 2 * (side // PATCH) ** 2 + TEXT_TOKENS  # noise, photo and text
    width = size.num_attention_heads * HEAD
    linear = 12 * width * width * tokens  # four projections of attention, and a feed-forward that is four times as wide
    attention = 2 * tokens * tokens * width
    return float(2 * batch * (size.num_layers + size.num_single_layers) * (linear + attention))


def measure(pipeline: Any, settings: Diffusers, side: int, repetitions: int, rate: float, device: str) -> Result:
    """Edit square photos, `settings.batch` at once, and return what that took; one edit more warms up."""
    editor = DiffusersEditor(pipeline, settings)
    requests = [_request(number, side) for number in range(settings.batch)]
    steps: list[float] = []
    edits: list[float] = []
    started = 0.0

    def before(*_: Any) -> None:
        nonlocal started
        started = _now(device)

    hooks = [
        pipeline.transformer.register_forward_pre_hook(before),
        pipeline.transformer.register_forward_hook(lambda *_: steps.append(_now(device) - started)),
    ]
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repetitions + 1):
        start = _now(device)
        answers = editor.edit(requests)
        edits.append(_now(device) - start)
        for answer in answers:
            if not isinstance(answer, np.ndarray):
                raise SystemExit(f"editors: {answer}")
    for hook in hooks:
        hook.remove()
    a_step = statistics.median(steps[settings.steps :])
    tflops = step_flops(pipeline, side, editor.batch) / a_step / 1e12  # memory may have halved the batch
    return Result(
        side=side,
        batch=editor.batch,
        seconds_a_step=a_step,
        seconds_an_edit=statistics.median(edits[1:]) / settings.batch,
        memory_gb=_memory(device),
        tflops=tflops,
        of_matmul=tflops / rate,
    )


def _request(number: int, side: int) -> EditRequest:
    pixels = stream(0, "speed", number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    instruction = EditInstruction(
        task=Operation.SMEAR.task, category=Category.PATTERN, operation=Operation.SMEAR, subject="the pattern",
        sentence="Smear the pattern in the middle.", place="in the middle", region=((0.2, 0.2), (0.8, 0.2), (0.5, 0.8)),
    )  # fmt: skip
    return EditRequest(str(number), Photo(str(number), pixels), instruction, strength=0.5, seed=0)


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def _memory(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(
        description="Measure the diffusers editor on a FLUX.1-Kontext of random weights.",
        epilog="Example: python -m benchmark.speed.editors --layers 19 --single-layers 38 --batch 2",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch's name for it")
    parser.add_argument(
        "--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16", help="of all weights"
    )
    parser.add_argument("--heads", type=int, default=24, help="of 128 channels each; the real model has 24")
    parser.add_argument("--layers", type=int, default=4, help="of two streams; the real model has 19")
    parser.add_argument("--single-layers", type=int, default=8, help="of one stream; the real model has 38")
    parser.add_argument("--autoencoder", type=int, default=128, help="its width; the real one has 128")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024], help="of the square photos, px")
    parser.add_argument("--batch", type=int, default=1, help="edits at once")
    parser.add_argument("--steps", type=int, default=8, help="of an edit")
    parser.add_argument("--repetitions", type=int, default=3, help="edits that count; one more warms up")
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    args = parser.parse_args()

    dtype = getattr(torch, args.dtype)
    settings = Diffusers(
        model="random weights", dtype=args.dtype, device=args.device, steps=args.steps, batch=args.batch
    )
    size = Size(args.heads, args.layers, args.single_layers, args.autoencoder)
    rate = matmul_rate(dtype, args.device)
    pipeline = place(make_kontext(size, dtype, args.device), settings)
    results = [measure(pipeline, settings, side, args.repetitions, rate, args.device) for side in args.sides]
    parameters = sum(weight.numel() for weight in pipeline.transformer.parameters())
    card = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    about = {"device": card, "dtype": args.dtype, "parameters": parameters, "matmul_tflops": rate, **asdict(size)}
    if args.json:
        print(json.dumps({**about, "results": [asdict(result) for result in results]}))
        return
    print(
        f"{card}, {args.dtype}: a matmul reaches {rate:.2f} TFLOP/s; a transformer of {parameters / 1e9:.2f} B weights"
    )
    print(
        "\n| photo | batch | s a step | s an edit | GB, peak | TFLOP/s | of the matmul |\n|---|---|---|---|---|---|---|"
    )
    for one in results:
        times = f"{one.seconds_a_step:.3f} | {one.seconds_an_edit:.2f}"
        print(
            f"| {one.side} px | {one.batch} | {times} | {one.memory_gb:.1f} | {one.tflops:.2f} | {one.of_matmul:.2f} |"
        )


if __name__ == "__main__":
    main()
