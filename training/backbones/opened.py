"""Which backbone a name stands for, ready on its device."""

from schemas.training import Training
from training.backbones import Backbone


def open_backbone(name: str, settings: Training, device: str = "cpu") -> Backbone:
    """Return a backbone by its name in `schemas.training.BackboneName`.

    `tiny` is untrained; the others have the weights that their settings name.

    Raises SettingsError and EngineFailure where weights do not load.
    """
    match name:
        case "tiny":
            from training.backbones.tiny import TinyBackbone

            tiny = TinyBackbone(settings.tiny)
            tiny.transformer.to(device)
            return tiny
        case "flux_kontext":
            from training.backbones.flux_kontext import open_flux_kontext

            kontext = open_flux_kontext(settings.flux_kontext)
            kontext.pipeline.to(device)
            return kontext
        case "qwen_image_edit":
            from training.backbones.qwen_image_edit import open_qwen_image_edit

            qwen = open_qwen_image_edit(settings.qwen_image_edit)
            qwen.pipeline.to(device)
            return qwen
        case _:
            from training.backbones.flux2_klein import open_flux2_klein

            klein = open_flux2_klein(settings.flux2_klein)
            klein.pipeline.to(device)
            return klein
