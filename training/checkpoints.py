"""What has learnt, in a folder: `weights.json` says which backbone it is and with which settings it was trained.

Beside it lies `weights.safetensors`, the whole transformer, or the LoRA in the file that diffusers looks for.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.assignments import validated
from schemas.errors import SettingsError, WeightsError
from schemas.ids import sha256
from schemas.training import BackboneName, Training, load_training
from training.backbones import Backbone
from training.backbones.opened import open_backbone
from training.lora import FILE, load_lora, lora_of, save_lora

ABOUT, WHOLE = "weights.json", "weights.safetensors"
FORMAT = 1


def learnt(backbone: Backbone, mean: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what has learnt of a backbone, as files have it: its LoRA where it bears one, else its transformer.

    Weights that `mean` names have the values there.
    """
    values = {**backbone.transformer.state_dict(), **mean}
    return lora_of(backbone.transformer, values) if _bears_lora(backbone) else values


def save_weights(folder: Path, backbone: Backbone, settings: Training, tensors: Mapping[str, Tensor]) -> None:
    """Write what has learnt of a backbone (`learnt`) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lora = _bears_lora(backbone)
    if lora:
        save_lora(folder / FILE, backbone.transformer, tensors)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WHOLE)
    about = {"format": FORMAT, "backbone": backbone.name, "lora": lora, "settings": settings.model_dump(mode="json")}
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")


def _bears_lora(backbone: Backbone) -> bool:
    return hasattr(backbone.transformer, "peft_config")


def load_weights(
    folder: Path, assignments: Sequence[str] = (), device: str = "cpu", afresh: Sequence[str] = ()
) -> tuple[Backbone, Training]:
    """Return the backbone that was trained and its settings, with `key=value`s on top.

    Sections named in `afresh` begin with today's defaults of the backbone, not as they were in that run.

    Raises WeightsError where the folder is no checkpoint, or its files are damaged or do not fit each other;
    SettingsError for a wrong assignment, or where the weights that LoRA goes beside do not load.
    """
    about = _read(folder)
    today = load_training((), about["backbone"]).model_dump(mode="json")
    told = about["settings"] | {section: today[section] for section in afresh}
    settings = validated(Training, told, assignments, None)
    backbone = open_backbone(about["backbone"], settings, device)
    if about["lora"]:
        load_lora(folder / FILE, backbone.transformer, backbone.lora_targets)
        return backbone, settings
    try:
        tensors: dict[str, Tensor] = load_file(folder / WHOLE)
        with torch.no_grad():
            backbone.transformer.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        what = " ".join(str(error).split())[:200]
        raise WeightsError(f"checkpoint {folder}: {WHOLE}: {what}; take another checkpoint") from None
    return backbone, settings


def weights_digest(folder: Path) -> str:
    """Return the digest of the weights in a folder. Raises WeightsError where it holds none."""
    for name in (WHOLE, FILE):
        if (folder / name).is_file():
            return sha256((folder / name).read_bytes())
    raise WeightsError(f"checkpoint {folder}: it holds no weights; name a folder that training wrote")


def load_with_lora(
    name: str, lora: Path, assignments: Sequence[str] = (), device: str = "cpu"
) -> tuple[Backbone, Training]:
    """Return a backbone with the weights that its settings name, and a LoRA beside them, and the settings.

    Raises SettingsError for a wrong name or assignment, or where weights do not load; WeightsError for the LoRA.
    """
    settings = load_training(assignments)
    loras = tuple(known for known in get_args(BackboneName) if known != "tiny")
    if name not in loras:
        raise SettingsError(f"--backbone {name}: no such backbone that takes LoRA; there are: {', '.join(loras)}")
    if not lora.is_file():
        raise WeightsError(f"LoRA {lora}: there is no such file; name one in safetensors")
    backbone = open_backbone(name, settings, device)
    load_lora(lora, backbone.transformer, backbone.lora_targets)
    return backbone, settings


def _read(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        if about["format"] != FORMAT:
            raise ValueError(f"it is of format {about['format']}, not {FORMAT}")
        if about["backbone"] not in get_args(BackboneName):
            raise ValueError(f"its backbone is '{about['backbone']}', which is not known")
        return {name: about[name] for name in ("backbone", "lora", "settings")}
    except FileNotFoundError:
        raise WeightsError(f"checkpoint {folder}: it holds no {ABOUT}; name a folder that training wrote") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = " ".join(str(error).split())[:200]
        raise WeightsError(f"checkpoint {folder}: {ABOUT}: {what}; take another checkpoint") from None
