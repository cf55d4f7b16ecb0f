from pathlib import Path

from benchmark.speed.sft import measure
from tests.training.conftest import made
from tests.training.test_sft import settings
from training.dataset import open_split


def test_it_measures_a_run_beside_its_steps_alone(tmp_path: Path) -> None:
    split = open_split(made(tmp_path / "lake", 16).root, "v1", "train")
    found = measure(split, settings("sft.ema=0.9"), turns=1)
    assert found["steps"] == 4
    assert found["run"] > 0
    assert found["bare"] > 0
