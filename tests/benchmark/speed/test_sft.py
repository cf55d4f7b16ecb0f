from benchmark.speed.sft import measure
from tasks.lake import Lake
from tests.training.conftest import small  # noqa: F401
from tests.training.test_sft import settings
from training.dataset import open_split


def test_it_measures_a_run_beside_its_steps_alone(small: Lake) -> None:  # noqa: F811
    found = measure(open_split(small.root, "v1", "train"), settings("sft.ema=0.9"), turns=1)
    assert found["steps"] == 4
    assert found["run"] > 0
    assert found["bare"] > 0
