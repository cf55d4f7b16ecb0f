"""What a step of SFT takes at each size of picture: peak memory, time, and arithmetic beside what the device can do.

The transformer is FLUX.1-Kontext's with random weights, of any depth and width: noise, draft and reference in one row,
LoRA on attention and feed-forward. Forward, backward and optimizer, without data and autoencoder. Each size has a
process of its own, whose peak is its own. On a GPU in bfloat16; on a CPU, which is slow at that, in float32, and its
peak is by how much memory rose, start and imports apart. What checkpointing computes anew is no arithmetic achieved.

python -m benchmark.speed.memory --help
"""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import torch
import typer
from diffusers import FluxTransformer2DModel
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from training.backbones import Text
from training.backbones.flux_kontext import FluxKontextBackbone
from training.lora import add_lora

CHANNELS, STRIDE = 16, 8  # of FLUX.1's latents
SQUARES = {"cuda": 8192, "cpu": 2048}  # rows of the matrices whose product tells the device's ceiling
DTYPES = {"cuda": torch.bfloat16, "cpu": torch.float32, "meta": torch.float32}
STEPS = 3  # that are timed, after two that are not

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    sizes: Annotated[str, typer.Option(help="Pixels of a side, of all three pictures; several by commas.")] = "256,512",
    blocks: Annotated[int, typer.Option(min=1, help="Double blocks; Kontext has 19.")] = 4,
    single: Annotated[int, typer.Option(min=1, help="Single blocks; Kontext has 38.")] = 8,
    heads: Annotated[int, typer.Option(min=1, help="Of 128 channels; Kontext has 24.")] = 8,
    rank: Annotated[int, typer.Option(min=1, help="Of LoRA.")] = 128,
    words: Annotated[int, typer.Option(min=1, help="Tokens of an instruction.")] = 512,
    checkpointing: Annotated[bool | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure a step with and without gradient checkpointing."""
    if checkpointing is not None:
        with suppress(torch.OutOfMemoryError):
            print(json.dumps(measure(int(sizes), blocks, single, heads, rank, words, checkpointing=checkpointing)))
        return
    table = Table(
        "size", "tokens", "gradient checkpointing", "weights MB", "peak MB", "s a step", "TFLOP/s", "of ceiling"
    )
    for size in map(int, sizes.split(",")):
        for way in ("checkpointing", "no-checkpointing"):
            command = [sys.executable, "-m", "benchmark.speed.memory", "--sizes", str(size), f"--{way}"]
            shape = {"blocks": blocks, "single": single, "heads": heads, "rank": rank, "words": words}
            command += [part for name, value in shape.items() for part in (f"--{name}", str(value))]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            said = "no" if way.startswith("no") else "yes"
            if not done.stdout:
                table.add_row(str(size), "", said, "", "out of memory", "", "", "")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            table.add_row(
                str(size), f"{found['tokens']}", said, f"{found['weights'] / 1e6:.0f}", f"{found['peak'] / 1e6:.0f}",
                f"{found['seconds']:.2f}", f"{found['rate'] / 1e12:.3f}", f"{found['rate'] / found['ceiling']:.2f}",
            )  # fmt: skip
    Console(width=120).print(table)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}; torch {torch.__version__}; {blocks} and {single} blocks, {heads} heads, LoRA {rank}")


def measure(
    size: int, blocks: int, single: int, heads: int, rank: int, words: int, *, checkpointing: bool
) -> dict[str, float]:
    """Return bytes at the peak and of the weights, seconds a step, and FLOP/s: achieved, and of a plain product."""
    on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = _peak(on)
    backbone = _random(blocks, single, heads, on)
    learns = add_lora(backbone.transformer, backbone.lora_targets, rank, rank)
    if checkpointing:
        backbone.transformer.enable_gradient_checkpointing()  # type: ignore[operator]  # diffusers' own
    optimizer = torch.optim.AdamW(learns)
    shown = _shown(size, words, on)

    def step() -> None:
        with torch.autocast(on.type, torch.bfloat16, enabled=on.type == "cuda"):
            backbone.velocity(*shown).float().square().mean().backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):  # the optimizer's moments are made in the first
        step()
    peak = _peak(on) - before
    begun = _clock(on)
    for _ in range(STEPS):
        step()
    seconds = (_clock(on) - begun) / STEPS
    weights = sum(weight.numel() * weight.element_size() for weight in backbone.transformer.parameters())
    return {
        "tokens": words + 3 * (size // STRIDE // 2) ** 2, "weights": weights, "peak": peak, "seconds": seconds,
        "rate": _arithmetic(size, blocks, single, heads, rank, words) / seconds, "ceiling": _ceiling(on),
    }  # fmt: skip


def _shown(size: int, words: int, on: torch.device) -> tuple[Tensor, Tensor, Tensor, Text, Tensor]:
    """Return what a backbone is asked with: noise, draft, reference, words, level."""
    side = size // STRIDE
    noisy, draft, reference = (torch.randn(1, CHANNELS, side, side, device=on) for _ in range(3))
    text = Text(torch.randn(1, words, 4096, device=on), torch.randn(1, 768, device=on))
    return noisy, draft, reference, text, torch.full((1,), 0.5, device=on)


def _arithmetic(size: int, blocks: int, single: int, heads: int, rank: int, words: int) -> int:
    """Return the floating-point operations of a step, counted on tensors without memory; nothing counts twice."""
    nowhere = torch.device("meta")
    backbone = _random(blocks, single, heads, nowhere)
    add_lora(backbone.transformer, backbone.lora_targets, rank, rank)
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):  # of which every product is counted
        backbone.velocity(*_shown(size, words, nowhere)).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    return int(counted.get_total_flops())


def _random(blocks: int, single: int, heads: int, on: torch.device) -> FluxKontextBackbone:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[on.type])
    with on:
        transformer: Any = FluxTransformer2DModel(
            num_layers=blocks, num_single_layers=single, num_attention_heads=heads, guidance_embeds=True
        )
    torch.set_default_dtype(usual)
    pipeline = SimpleNamespace(transformer=transformer.requires_grad_(False), vae_scale_factor=STRIDE)
    return FluxKontextBackbone(pipeline, 3.5)


def _ceiling(on: torch.device) -> float:
    """Return the FLOP/s of a product of two square matrices."""
    side = SQUARES[on.type]
    one = torch.randn(side, side, device=on, dtype=DTYPES[on.type])
    one @ one
    begun = _clock(on)
    for _ in range(5):
        one @ one
    return 5 * 2 * side**3 / (_clock(on) - begun)


def _peak(on: torch.device) -> float:
    """Return the most bytes that were held so far."""
    if on.type == "cuda":
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _clock(on: torch.device) -> float:
    if on.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    app()
