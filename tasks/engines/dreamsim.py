"""DreamSim: how alike two pictures are to people, as an ensemble of vision transformers learnt it (Fu et al. 2023).

The package is not asked for by the project, and its weights are not ours to ship: both are had once, where there is a
network, and read from a folder ever after.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224  # px of the pictures it takes
# What the package would download where it is missing: its checkpoints, and DINO's code and weights from torch's hub.
NEEDED = (
    "ensemble_lora/adapter_config.json", "dino_vitb16_pretrain.pth", "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar", "facebookresearch_dino_main/hubconf.py",
    "checkpoints/dino_vitbase16_pretrain.pth",
)  # fmt: skip


def describe(folder: Path, pictures: "Tensor") -> "Tensor":
    """Return embeddings of unit length, (N, D), of pictures float32 (N, 3, 224, 224), 0..1.

    The product of two is DreamSim's similarity, one less its distance. Computed where the pictures are. Raises
    SettingsError as `load_dreamsim` does.
    """
    import torch
    from torch.nn.functional import normalize

    with torch.inference_mode():
        embedded: Tensor = load_dreamsim(folder, str(pictures.device)).embed(pictures)
        return normalize(embedded.float(), dim=1)


@cache
def load_dreamsim(folder: Path, device: str) -> Any:
    """Return the ensemble, read from a folder once a process. Raises SettingsError that says what to fetch."""
    fetch = (
        f'with a network, `pip install dreamsim==0.2.1` and `python -c "from dreamsim import dreamsim; '
        f"dreamsim(cache_dir='{folder}', device='cpu')\"` fetch all of it; or choose another likeness"
    )
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise SettingsError(f"DreamSim's folder {folder}: {missing[0]} is missing; {fetch}")
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise SettingsError(f"DreamSim's package cannot be imported ({error}); {fetch}") from None
    try:
        model, _ = dreamsim(pretrained=True, device=device, cache_dir=str(folder))
    except Exception as error:  # whatever the package raises, the folder is not what it should be
        what = " ".join(str(error).split())[:200]
        raise SettingsError(f"DreamSim's folder {folder}: it does not load ({what}); {fetch}") from None
    return model
