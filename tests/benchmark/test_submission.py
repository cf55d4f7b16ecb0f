"""Somebody's own outputs: what is wrong with them is told file by file, and the rest is taken."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.cases import Frozen
from benchmark.models import open_model
from benchmark.run import answers, run
from benchmark.submission import check
from schemas.benchmark import Weights
from schemas.errors import SettingsError


@pytest.fixture
def outputs(bench: Frozen, tmp_path: Path) -> Path:
    """A faultless submission: the drafts, in all three endings."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    for number, key in enumerate(bench.keys):
        draft = Image.fromarray(bench.case(key).problem.input)
        draft.save(folder / f"{key}{('.png', '.webp', '.jpg')[number % 3]}", lossless=True)
    return folder


def test_a_faultless_one_is_taken_as_it_is(bench: Frozen, outputs: Path, tmp_path: Path) -> None:
    (outputs / "submission.json").write_text(json.dumps({"model": "ours", "how": "by hand"}))
    assert check(bench, outputs) == []
    model = open_model(f"folder:{outputs}")
    assert (model.about["model"], model.about["how"]) == ("ours", "by hand")
    key = bench.keys[1]  # a WebP without loss
    (answer,) = model.answer([bench.case(key).problem])
    assert np.array_equal(answer, bench.case(key).problem.input)  # type: ignore[arg-type]  # an answer may be a refusal; this is none


def test_each_fault_is_named_with_its_file(bench: Frozen, outputs: Path) -> None:
    first, second, third, fourth, fifth, sixth, seventh = bench.keys[:7]
    picture = bench.case(first).problem.input
    (outputs / f"{first}.png").unlink()
    Image.fromarray(picture[:-1]).save(outputs / f"{second}.webp")
    (outputs / f"{third}.jpg").write_bytes(b"no picture at all")
    Image.fromarray(picture).save(outputs / f"{fourth}.webp", lossless=True)  # beside its .png
    width, height = bench.size(fifth)
    frames = [Image.new("RGB", (width, height), colour) for colour in ("red", "blue")]
    frames[0].save(outputs / f"{fifth}.webp", save_all=True, append_images=frames[1:])
    (outputs / f"{sixth}.jpg").unlink()
    (outputs / f"{sixth}.jpg").symlink_to("/etc/hostname")
    width, height = bench.size(seventh)
    Image.new("RGBA", (width, height), (0, 0, 0, 9)).save(outputs / f"{seventh}.png")
    Image.fromarray(picture).save(outputs / f"{'0' * 32}.png")
    (outputs / "notes.txt").write_text("notes")
    (outputs / "submission.json").write_text('{"team": "ours"}')
    told = {fault.file: fault.what for fault in check(bench, outputs)}
    assert told.pop("submission.json").endswith("mend it, or leave it out")
    width, height = bench.size(second)
    assert told.pop(f"{third}.jpg").startswith("it cannot be read: ")
    assert told == {
        f"{first}.png": "it is missing",
        f"{second}.webp": f"it has {picture.shape[1]} x {picture.shape[0] - 1} px, the sample {width} x {height} px",
        f"{fourth}.webp": f"{fourth}.png is of the same sample; leave one of them",
        f"{fifth}.webp": "it is an animation",
        f"{sixth}.jpg": "it is no regular file",
        f"{seventh}.png": "it is transparent in places; lay it on something",
        f"{'0' * 32}.png": "no sample has this key",
        "notes.txt": "it is no picture that is read: .png, .webp or .jpg",
    }


def test_what_is_missing_is_counted_as_the_draft(bench: Frozen, outputs: Path, tmp_path: Path) -> None:
    first = bench.keys[0]
    (outputs / f"{first}.png").unlink()
    done = run(bench, open_model(f"folder:{outputs}"), tmp_path / "run", Weights(), limit=2)
    assert (done.answered, done.refused) == (1, 1)
    assert answers(tmp_path / "run")[first]["refused"] == "missing: there is no picture of this sample"


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(SettingsError, match="there is no such folder"):
        open_model("folder:nowhere")
