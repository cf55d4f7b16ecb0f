"""LoRA: small matrices beside the linear layers of a transformer that is itself left as it is (Hu et al. 2021).

Files are laid out as diffusers lays them out: `pipeline.load_lora_weights(folder)` takes them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from schemas.errors import WeightsError

FILE = "pytorch_lora_weights.safetensors"  # what diffusers looks for in a folder
PREFIX = "transformer."


def add_lora(transformer: nn.Module, targets: Sequence[str], rank: int, alpha: float) -> list[nn.Parameter]:
    """Put untrained LoRA beside the named layers, and return its weights: all that learns from now on.

    They are float32, whatever the transformer is, and change nothing before they have learnt.
    """
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets)), transformer)  # type: ignore[arg-type]
    added = []
    for name, weight in transformer.named_parameters():
        weight.requires_grad_("lora_" in name)
        if weight.requires_grad:
            weight.data = weight.data.float()
            added.append(weight)
    return added


def lora_of(transformer: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the LoRA among the values of a transformer's weights, by the names that files have."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(transformer, dict(values))
    return {PREFIX + name: tensor for name, tensor in found.items()}


def save_lora(path: Path, transformer: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write a transformer's LoRA (`lora_of`) into a file, with what diffusers must know to load it."""
    config: Any = transformer.peft_config["default"].to_dict()  # type: ignore[index, union-attr]
    known = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    known = {PREFIX + key: value for key, value in known.items() if isinstance(value, int | float | str | list)}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(known, sort_keys=True)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def load_lora(path: Path, transformer: nn.Module, targets: Sequence[str]) -> None:
    """Put the LoRA in a file beside a transformer's layers.

    Raises WeightsError where the file cannot be read, or is of another transformer.
    """
    from peft import set_peft_model_state_dict

    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
            tensors: dict[str, Tensor] = {name.removeprefix(PREFIX): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"LoRA {path}: it cannot be read ({error}); name a file in safetensors") from None
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if name.endswith(".lora_A.weight")}
    layers = {name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")}
    unknown = sorted(layers - set(targets))
    if len(ranks) != 1 or unknown:
        what = f"the transformer has no layer {unknown[0]}" if unknown else "it holds no LoRA of one rank"
        raise WeightsError(f"LoRA {path}: {what}; name one that was trained on this backbone")
    (rank,) = ranks
    add_lora(transformer, sorted(layers), rank, said.get(f"{PREFIX}lora_alpha", rank))
    with torch.no_grad():
        set_peft_model_state_dict(transformer, tensors)
