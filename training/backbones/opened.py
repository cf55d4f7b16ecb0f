"""Which backbone a name stands for, ready on its device."""

from typing import Any

from torch import nn

from schemas.training import Training
from training.backbones import Backbone


def open_backbone(name: str, settings: Training, device: str = "cpu", *, to_share: bool = False) -> Backbone:
    """Return a backbone by its name in `schemas.training.BackboneName`.

    `tiny` is untrained; the others have the weights that their settings name. A transformer that processes are
    `to_share` stays where it was loaded: no device may have room for all of it.

    Raises SettingsError and EngineFailure where weights do not load.
    """
    match name:
        case "tiny":
            from training.backbones.tiny import TinyBackbone

            tiny = TinyBackbone(settings.tiny)
            tiny.transformer.to("cpu" if to_share else device)
            return tiny
        case "flux_kontext":
            from training.backbones.flux_kontext import open_flux_kontext

            kontext = open_flux_kontext(settings.flux_kontext)
            _place(kontext.pipeline, device, to_share)
            return kontext
        case "qwen_image_edit":
            from training.backbones.qwen_image_edit import open_qwen_image_edit

            qwen = open_qwen_image_edit(settings.qwen_image_edit)
            _place(qwen.pipeline, device, to_share)
            return qwen
        case _:
            from training.backbones.flux2_klein import open_flux2_klein

            klein = open_flux2_klein(settings.flux2_klein)
            _place(klein.pipeline, device, to_share)
            return klein


def _place(pipeline: Any, device: str, to_share: bool) -> None:
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and not (to_share and name == "transformer"):
            part.to(device)
