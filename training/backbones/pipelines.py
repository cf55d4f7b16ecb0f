"""Pipelines of diffusers as backbones: how they are loaded, and what is done to all of them alike."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from schemas.errors import SettingsError
from schemas.training import Pretrained


def load(settings: Pretrained, section: str, kind: str) -> Any:
    """Return the pipeline of class `kind` that the settings of a section name; nothing of it learns yet.

    It comes from a folder or from what was downloaded before. Reads safetensors only, runs no code that comes with a
    model. Raises SettingsError where weights are missing, do not load, or make another pipeline.
    """
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging

    logging.set_verbosity_error()
    model, where = settings.model, {"revision": settings.revision, "local_files_only": True}
    try:
        found = DiffusionPipeline.load_config(model, **where)["_class_name"]
        if found != kind:
            raise SettingsError(f"setting {section}.model: {model} is a {found}; {section} needs a {kind}")
        pipeline = DiffusionPipeline.from_pretrained(
            model, dtype=getattr(torch, settings.dtype), use_safetensors=True, **where
        )
    except SettingsError:
        raise
    except Exception as error:  # loaders raise anything at all
        what = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        next_step = f"download it with `hf download {model}`, or name a folder with a pipeline in safetensors"
        if Path(model).is_dir():
            next_step = "put a pipeline in safetensors there, or name another folder"
        elif kind == "QwenImageEditPlusPipeline" and find_spec("torchvision") is None:
            next_step = "its processor needs torchvision: install the one that goes with your torch"
        raise SettingsError(f"setting {section}.model: {model}: {what}; {next_step}") from None
    return frozen(pipeline)


def frozen(pipeline: Any) -> Any:
    """Return the pipeline with all its parts in evaluation mode and nothing to be learnt: T5 would drop out."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    return pipeline


def dtype_of(module: nn.Module) -> torch.dtype:
    """Return the type that a module computes in: that of its largest weight, whatever adapters it bears."""
    return max(module.parameters(), key=torch.numel).dtype


def attention_and_feed_forward(transformer: nn.Module) -> tuple[str, ...]:
    """Return the names of the linear layers in a transformer's blocks, those of the adaptive norms apart."""
    return tuple(
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and "blocks." in name and "norm" not in name and "mod" not in name
    )
