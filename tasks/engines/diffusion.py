"""The editor `diffusers`: an image-editing pipeline in this process, which paints the photo anew."""

import gc
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import SettingsError
from schemas.ids import stream
from schemas.records import EngineFailure, Pixels, Refusal
from schemas.settings import Diffusers
from tasks.engines.editor import EditRequest

SUPPORTED = ("FluxKontextPipeline", "QwenImageEditPlusPipeline", "Flux2KleinPipeline")


class DiffusersEditor:
    """An `Editor` around a loaded pipeline of a supported class.

    Targets of one size are painted together, `settings.batch` at once, where the pipeline takes several. A batch that
    memory does not hold is halved, for good; an edit that it does not hold by itself is an `EngineFailure`. An edit's
    noise is keyed by its id alone. Threads take turns.
    """

    def __init__(self, pipeline: Any, settings: Diffusers) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.batch = settings.batch if type(pipeline).__name__ == "FluxKontextPipeline" else 1
        self.turn = Lock()

    def edit(self, requests: Sequence[EditRequest]) -> "list[Pixels | Refusal | EngineFailure]":
        """Return for each request the whole edited photo, uint8 (H, W, 3), sides rounded down as the model needs it."""
        import torch

        waiting = sorted(range(len(requests)), key=lambda number: requests[number].target.pixels.shape)
        outcomes: dict[int, Pixels | Refusal | EngineFailure] = {}
        with self.turn:
            while waiting:
                size = requests[waiting[0]].target.pixels.shape
                together = [number for number in waiting[: self.batch] if requests[number].target.pixels.shape == size]
                try:
                    painted: list[Pixels | EngineFailure] = [*self._paint([requests[number] for number in together])]
                except torch.OutOfMemoryError:
                    if len(together) > 1:
                        self.batch = len(together) // 2
                        self._recover()
                        continue
                    painted = [EngineFailure(_out_of_memory(size, self.settings))]
                except Exception as error:  # whatever a pipeline raises must not lose the other edits
                    painted = [EngineFailure(f"{self.settings.model}: {type(error).__name__}: {error}")]
                    if len(together) > 1:
                        together = together[:1]  # alone it may be painted, or it is the one that cannot be
                        painted = self._alone(requests[together[0]])
                if isinstance(painted[0], EngineFailure):
                    self._recover()
                outcomes |= zip(together, painted, strict=True)
                waiting = waiting[len(together) :]
        return [outcomes[number] for number in range(len(requests))]

    def _alone(self, request: EditRequest) -> "list[Pixels | EngineFailure]":
        """Paint one edit of several that could not be painted together."""
        try:
            return [*self._paint([request])]
        except Exception as error:
            return [EngineFailure(f"{self.settings.model}: {type(error).__name__}: {error}")]

    def _paint(self, requests: Sequence[EditRequest]) -> list[Pixels]:
        """Paint edits of targets of one size in one call. Every pipeline is told the size: none guesses it right."""
        import torch
        from diffusers import Flux2KleinPipeline, FluxKontextPipeline, QwenImageEditPlusPipeline

        height, width = requests[0].target.pixels.shape[:2]
        photos = [Image.fromarray(request.target.pixels) for request in requests]
        sentences = [request.instruction.sentence for request in requests]
        # noise drawn on the CPU is the same whatever the device
        noise = [torch.Generator("cpu").manual_seed(_seed(request)) for request in requests]
        common: dict[str, Any] = {
            "image": photos,
            "height": height,
            "width": width,
            "num_inference_steps": self.settings.steps,
            "output_type": "np",
        }
        guidance = self.settings.guidance
        match self.pipeline:
            case FluxKontextPipeline():
                common |= {"max_area": height * width, "_auto_resize": False}  # or it paints a megapixel of its choice
                answer = self.pipeline(prompt=sentences, guidance_scale=guidance, generator=noise, **common)
            case QwenImageEditPlusPipeline():
                scale = {"true_cfg_scale": guidance, "negative_prompt": " "}  # it guides only where both are given
                answer = self.pipeline(prompt=sentences[0], generator=noise[0], **scale, **common)
            case Flux2KleinPipeline():
                answer = self.pipeline(prompt=sentences[0], guidance_scale=guidance, generator=noise[0], **common)
            case _:
                raise SettingsError(_unsupported(self.settings.model, type(self.pipeline).__name__))
        return [_to_pixels(painted) for painted in answer.images]

    def _recover(self) -> None:
        """Give back what a call that broke off still holds."""
        import torch

        self.pipeline.maybe_free_model_hooks()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load_pipeline(settings: Diffusers) -> Any:
    """Return the pipeline that the settings name, on its device, from a folder or from what was downloaded before.

    Reads safetensors only, runs no code that comes with a model, and downloads nothing.
    Raises SettingsError where weights are missing, do not load, do not fit, or make no supported pipeline.
    """
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging

    logging.set_verbosity_error()  # pipelines warn at every call
    model, where = settings.model, {"revision": settings.revision, "local_files_only": True}
    found = ""
    try:
        found = DiffusionPipeline.load_config(model, **where)["_class_name"]
        if found not in SUPPORTED:
            raise SettingsError(_unsupported(model, found))
        pipeline = DiffusionPipeline.from_pretrained(
            model, dtype=getattr(torch, settings.dtype), use_safetensors=True, **where
        )
    except SettingsError:
        raise
    except Exception as error:  # loaders raise anything at all
        next_step = _to_get(settings)
        if found == "QwenImageEditPlusPipeline" and find_spec("torchvision") is None:
            next_step = "its processor needs torchvision: install the one that goes with your torch"
        raise SettingsError(f"setting edit.diffusers.model: {model}: {_first_line(error)}; {next_step}") from None
    return place(pipeline, settings)


def place(pipeline: Any, settings: Diffusers) -> Any:
    """Return a pipeline made ready to paint, on its device. Raises SettingsError where that cannot hold it."""
    import torch

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()  # T5's dropout would make runs differ
    pipeline.set_progress_bar_config(disable=True)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if settings.device == "auto" else settings.device
    if settings.offload != "none" and device == "cpu":
        raise SettingsError("setting edit.diffusers.offload: there is no GPU to take weights from; set it to 'none'")
    try:
        match settings.offload:
            case "none":
                pipeline.to(device)
            case "model":
                pipeline.enable_model_cpu_offload(device=device)
            case "sequential":
                pipeline.enable_sequential_cpu_offload(device=device)
    except torch.OutOfMemoryError:
        raise SettingsError(
            f"setting edit.diffusers.offload: the weights of {settings.model} do not fit on {device}; "
            "set it to 'model', or to 'sequential'"
        ) from None
    except (AssertionError, RuntimeError) as error:
        raise SettingsError(
            f"setting edit.diffusers.device: {device}: {_first_line(error)}; set it to 'auto'"
        ) from None
    return pipeline


def _seed(request: EditRequest) -> int:
    return int(stream(request.seed, request.edit_id, "diffusers").integers(2**63))


def _to_pixels(painted: NDArray[np.float32]) -> Pixels:
    """Return 8-bit pixels of (H, W, 3) 0..1; what is not a number is black."""
    return np.asarray(np.rint(np.clip(np.nan_to_num(painted, nan=0.0), 0, 1) * 255), dtype=np.uint8)


def _out_of_memory(size: tuple[int, ...], settings: Diffusers) -> str:
    further = {"none": "'model'", "model": "'sequential'", "sequential": None}[settings.offload]
    advice = f"set edit.diffusers.offload to {further}, or " if further else "set "
    return f"{settings.model}: out of memory on one edit of {size[1]} x {size[0]} px; {advice}a smaller intake.size"


def _to_get(settings: Diffusers) -> str:
    if Path(settings.model).is_dir():
        return "put a pipeline in safetensors there, or name another folder"
    revision = f" --revision {settings.revision}" if settings.revision else ""
    return f"download it with `hf download {settings.model}{revision}`, or name a folder with a pipeline in safetensors"


def _unsupported(model: str, found: str) -> str:
    return f"setting edit.diffusers.model: {model} is a {found}; supported are {', '.join(SUPPORTED)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
