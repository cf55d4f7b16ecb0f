import json
from pathlib import Path

import pytest
import torch

from schemas.errors import SettingsError, WeightsError
from schemas.training import Training, load_training
from tests.tasks.engines import tiny_pipelines
from training.backbones.opened import open_backbone
from training.checkpoints import learnt, load_weights, load_with_lora, save_weights
from training.lora import FILE, add_lora

SMALL = ["tiny.width=32", "tiny.depth=1", "tiny.heads=2", "tiny.words=64", "data.size=64"]


@pytest.fixture
def settings() -> Training:
    return load_training(SMALL)


def test_whole_weights_come_back_with_the_settings_they_were_trained_with(settings: Training, tmp_path: Path) -> None:
    backbone = open_backbone("tiny", settings)
    save_weights(tmp_path, backbone, settings, learnt(backbone, {}))
    back, known = load_weights(tmp_path, ["refine.steps=3"])
    assert (back.name, known.tiny, known.refine.steps) == ("tiny", settings.tiny, 3)
    for name, tensor in backbone.transformer.state_dict().items():
        assert torch.equal(back.transformer.state_dict()[name], tensor)


def test_lora_comes_back_beside_the_weights_that_the_settings_name(tmp_path: Path) -> None:
    model = tiny_pipelines.flux_kontext(tmp_path / "model")
    settings = load_training([f"flux_kontext.model={model}", "flux_kontext.dtype=float32"])
    backbone = open_backbone("flux_kontext", settings)
    for weight in add_lora(backbone.transformer, backbone.lora_targets, rank=2, alpha=4):
        torch.nn.init.normal_(weight)
    save_weights(tmp_path / "run", backbone, settings, learnt(backbone, {}))
    assert (tmp_path / "run" / FILE).stat().st_size < 200_000
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / FILE).rename(tmp_path / "elsewhere" / "mine.safetensors")
    alone, _ = load_with_lora(
        "flux_kontext", tmp_path / "elsewhere" / "mine.safetensors",
        [f"flux_kontext.model={model}", "flux_kontext.dtype=float32"],
    )  # fmt: skip
    (tmp_path / "elsewhere" / "mine.safetensors").rename(tmp_path / "run" / FILE)
    beside, known = load_weights(tmp_path / "run")
    assert known == settings
    latents = torch.randn(1, 4, 8, 8)
    answers = [
        one.velocity(latents, latents, latents, one.prompt(["x"]), torch.ones(1)) for one in (backbone, alone, beside)
    ]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_trouble_with_a_checkpoint_is_told_in_one_line(settings: Training, tmp_path: Path) -> None:
    def told(match: str, *assignments: str) -> None:
        with pytest.raises((WeightsError, SettingsError), match=match) as raised:
            load_weights(tmp_path, assignments)
        assert "\n" not in str(raised.value)

    told(r"holds no weights.json; name a folder that training wrote")
    backbone = open_backbone("tiny", settings)
    save_weights(tmp_path, backbone, settings, learnt(backbone, {}))
    told(r"no such setting; did you mean 'refine.steps'", "refine.step=1")
    told(r"weights.safetensors: .*size mismatch", "tiny.width=48")
    whole, about = (tmp_path / "weights.safetensors"), tmp_path / "weights.json"
    whole.write_bytes(whole.read_bytes()[:1000])
    told(r"weights.safetensors: .*; take another checkpoint")
    whole.unlink()
    told(r"weights.safetensors: .*; take another checkpoint")
    known = json.loads(about.read_text())
    about.write_text(json.dumps(known | {"backbone": "huge"}))
    told(r"its backbone is 'huge', which is not known")
    about.write_text(json.dumps(known | {"format": 9}))
    told(r"it is of format 9, not 1")
    about.write_text("{")
    told(r"weights.json: .*; take another checkpoint")
