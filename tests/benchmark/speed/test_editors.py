"""The script runs and counts right; what it measures is no test's business."""

import json
import subprocess
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmark.speed.editors import Size, make_kontext, step_flops

TINY = "--device cpu --dtype float32 --heads 1 --layers 1 --single-layers 1 --autoencoder 8 --steps 2 --repetitions 1"


def test_a_tiny_run_on_the_cpu_says_what_each_size_took() -> None:
    command = [sys.executable, "-m", "benchmark.speed.editors", *TINY.split(), "--sides", "32", "64", "--json"]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [each["side"] for each in result["results"]] == [32, 64]
    for each in result["results"]:
        assert each["seconds_an_edit"] > each["seconds_a_step"] > 0
        assert each["of_matmul"] == pytest.approx(each["tflops"] / result["matmul_tflops"])
        assert each["memory_gb"] > 0


def test_operations_are_counted_as_torch_counts_them() -> None:
    pipeline = make_kontext(Size(heads=4, layers=1, single_layers=2, autoencoder=8), torch.float32, "cpu")
    tokens, text = 2 * 4 * 4, 512
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        pipeline.transformer(
            hidden_states=torch.zeros(1, tokens, 64), encoder_hidden_states=torch.zeros(1, text, 4096),
            pooled_projections=torch.zeros(1, 768), timestep=torch.ones(1), guidance=torch.ones(1),
            img_ids=torch.zeros(tokens, 3), txt_ids=torch.zeros(text, 3),
        )  # fmt: skip
    # what comes before and after the blocks weighs much in a small model, and nothing in a large one
    around = 2 * (text * 4096 + 2 * tokens * 64) * 512
    assert counter.get_total_flops() == pytest.approx(step_flops(pipeline, 64, 1) + around, rel=0.02)


def test_the_editor_alone_needs_neither_lake_nor_flows() -> None:
    code = "import sys, benchmark.speed.editors; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"prefect", "duckdb", "pyarrow", "typer", "aiohttp"} & set(loaded)
