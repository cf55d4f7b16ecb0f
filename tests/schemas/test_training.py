import pytest

from schemas.errors import SettingsError
from schemas.training import Training, load_training


def test_assignments_go_on_top_of_the_defaults() -> None:
    training = load_training(["seed=3", "data.batch=64", "data.margin=[0.1, 0.2]", "data.edit=raw"])
    assert (training.seed, training.data.batch, training.data.edit) == (3, 64, "raw")
    assert training.data.margin == (0.1, 0.2)
    assert load_training() == Training()


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("data.batchsize=3", "did you mean 'data.batch'?"),
        ("workers=3", "did you mean 'data.workers'?"),
        ("data.size=500", "multiple of 32"),
        ("data.margin=[1, 0.5]", "low <= high"),
        ("data.crop=middle", "'focus' or 'whole'"),
        ("data.batch", "no '='"),
    ],
)
def test_a_wrong_assignment_is_named(assignment: str, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_training([assignment])
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "profile" not in str(refused.value)
