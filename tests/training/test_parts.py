import numpy as np
import pytest

from tasks.engines.parts import CLASSES, COUNT, as_tensors, logits
from training import parts as training
from training.parts import Example, train


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return training._rendered(3)


def test_shares_say_what_each_cell_shows(examples: list[Example]) -> None:
    for example in examples:
        assert example.shares.shape == (*example.maps.fine.shape[:2], COUNT)
        assert np.allclose(example.shares.sum(axis=2), 1, atol=1e-4)
        assert (example.shares.max(axis=(0, 1)) > 0.9).sum() >= 4  # background, plain, and what is printed


def test_training_learns_what_it_is_shown(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EPOCHS", 40)
    weights = train(examples, [])
    for example in examples:
        likeliest = logits(weights, *as_tensors([example.maps]))[0].argmax(dim=0).numpy()
        surely = example.shares.max(axis=2) > 0.9
        assert (likeliest == example.shares.argmax(axis=2))[surely].mean() > 0.9


def test_what_a_photo_does_not_bear_is_unlearnt(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EPOCHS", 20)
    categories = list(CLASSES.values())
    absent = np.zeros((1, 1, COUNT), np.float32)
    absent[..., categories] = 1
    others = training._rendered(4)
    seen = []
    for bare in ([], [Example(other.maps, absent) for other in others]):
        weights = train(examples, bare)
        likely = logits(weights, *as_tensors([others[0].maps]))[0].softmax(dim=0)
        seen.append(float(likely[categories].sum(dim=0).mean().detach()))
    assert seen[1] < 0.5 * seen[0]
