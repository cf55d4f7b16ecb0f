"""Pipelines of every supported class, tiny and saved to disk, edit through the whole stage into a real lake."""

import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2VLProcessor

from schemas.errors import SettingsError
from schemas.ids import stream
from schemas.records import Category, EditInstruction, EngineFailure, Operation, Photo, Pixels, Polygon
from schemas.settings import Diffusers, Edit, Settings
from tasks.codecs import encode_webp, load_photo
from tasks.edit import edit
from tasks.engines.diffusion import DiffusersEditor, load_pipeline
from tasks.engines.editor import EditRequest
from tasks.engines.load import editor_identity, load_editor
from tasks.lake import Lake, create_lake
from tasks.ledger import Row
from tests.tasks.engines import tiny_pipelines
from tests.tasks.engines.chat_server import Nothing

REGION: Polygon = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
MAKERS = (tiny_pipelines.flux_kontext, tiny_pipelines.qwen_image_edit_plus, tiny_pipelines.flux2_klein)


@pytest.fixture(scope="module", autouse=True)
def small_qwen() -> Any:
    """Let Qwen's pipeline look at small pictures, and do without the reader of videos, which needs torchvision."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qwen, "VAE_IMAGE_SIZE", 96 * 96)
        patch.setattr(qwen, "CONDITION_IMAGE_SIZE", 64 * 64)
        patch.setattr(Qwen2VLProcessor, "get_attributes", classmethod(lambda _cls: ["image_processor", "tokenizer"]))
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of all tiny pipelines, by the names of their makers."""
    return {maker.__name__: maker(tmp_path_factory.mktemp(maker.__name__)) for maker in MAKERS}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def photo(seed: int, height: int = 96, width: int = 128) -> Pixels:
    return stream(seed, "photo").integers(60, 200, (height, width, 3), dtype=np.uint8)


def instruction(sentence: str = "Smear the pattern.") -> EditInstruction:
    return EditInstruction(
        task=Operation.SMEAR.task, category=Category.PATTERN, operation=Operation.SMEAR, region=REGION,
        sentence=sentence, subject="the pattern", place="in the middle",
    )  # fmt: skip


def request(edit_id: str, pixels: Pixels, sentence: str = "Smear the pattern.") -> EditRequest:
    return EditRequest(edit_id, Photo("t", pixels), instruction(sentence), strength=0.5, seed=7)


def settings(model: Path, **options: Any) -> Settings:
    pipeline = Diffusers(model=str(model), dtype="float32", device="cpu", steps=2, **options)
    # random weights repaint everything: nothing is held against them here
    return Settings(edit=Edit(engine="diffusers", diffusers=pipeline, max_area=1, max_outside=1, most_shift=1000))


def rows(lake: Lake, settings: Settings, photos: dict[str, Pixels]) -> dict[str, Row]:
    """Return the rows of the stage by item."""
    items = [
        {"item_id": item_id, "target_id": f"of {item_id}", "instruction": json.dumps(instruction().content()),
         "target_sha256": lake.put_artifact(encode_webp(pixels), "webp")}
        for item_id, pixels in photos.items()
    ]  # fmt: skip
    return {row["item_id"]: row for row in edit(lake, settings, items)}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_pipeline_edits_through_the_stage_and_the_same_item_is_painted_the_same(
    lake: Lake, saved: dict[str, Path], maker: Callable[[Path], Path]
) -> None:
    using = settings(saved[maker.__name__])
    first = rows(lake, using, {"a": photo(1), "b": photo(1)})
    again = rows(lake, using, {"b": photo(1)})
    assert [row["status"] for row in first.values()] == ["answered", "answered"]
    assert load_photo(lake, first["a"]["raw_sha256"]).shape == photo(1).shape
    assert load_photo(lake, first["a"]["input_sha256"]).shape == photo(1).shape
    assert first["b"]["raw_sha256"] == again["b"]["raw_sha256"]  # whatever else was asked
    assert first["a"]["raw_sha256"] != first["b"]["raw_sha256"]  # another item, other noise


@pytest.mark.parametrize("maker", MAKERS)
def test_the_sentence_is_what_the_pipeline_reads(saved: dict[str, Path], maker: Callable[[Path], Path]) -> None:
    editor = load_editor(settings(saved[maker.__name__]), Nothing())
    one, other = editor.edit([request("a", photo(1)), request("a", photo(1), "Turn the letters into hieroglyphs.")])
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    assert not np.array_equal(one, other)


def test_edits_of_one_size_are_painted_together_and_come_back_in_order(
    saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = kontext(saved, batch=3)
    calls = watched(editor, monkeypatch)
    asked = [request(str(number), photo(number, *size)) for number, size in enumerate([(96, 128), (128, 96)] * 3)]
    answers = editor.edit(asked)
    assert [len(call["prompt"]) for call in calls] == [3, 3]
    assert {(call["width"], call["height"]) for call in calls} == {(128, 96), (96, 128)}
    assert [answer.shape for answer in answers] == [one.target.pixels.shape for one in asked]  # type: ignore[union-attr]
    alone = [kontext(saved).edit([one])[0] for one in asked[:2]]
    for batched, single in zip(answers, alone, strict=False):
        assert np.abs(np.subtract(batched, single, dtype=int)).max() <= 1  # type: ignore[arg-type]


def test_a_batch_that_memory_does_not_hold_is_halved_for_good(
    saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = kontext(saved, batch=4)
    calls = watched(editor, monkeypatch, most=1)
    answers = editor.edit([request(str(number), photo(number)) for number in range(5)])
    assert all(isinstance(answer, np.ndarray) for answer in answers)
    assert [len(call["prompt"]) for call in calls] == [4, 2, 1, 1, 1, 1, 1]
    editor.edit([request("x", photo(8)), request("y", photo(9))])
    assert [len(call["prompt"]) for call in calls[7:]] == [1, 1]


def test_an_edit_that_memory_does_not_hold_fails_and_says_what_to_set(
    saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = kontext(saved)
    watched(editor, monkeypatch, most=0)
    (failure,) = editor.edit([request("a", photo(1))])
    assert isinstance(failure, EngineFailure)
    assert "128 x 96 px; set edit.diffusers.offload to 'model', or a smaller intake.size" in str(failure)


def test_what_is_not_a_number_is_black_and_refused_with_the_raw_edit_kept(
    lake: Lake, saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    using = settings(saved["flux_kontext"])
    editor = load_editor(using, Nothing())
    assert isinstance(editor, DiffusersEditor)
    monkeypatch.setattr(editor.pipeline.vae.decoder.conv_out, "bias", torch.nn.Parameter(torch.full((3,), torch.nan)))
    (row,) = rows(lake, using, {"a": photo(1)}).values()
    assert (row["status"], row["reason"]) == ("refused", "black")
    assert load_photo(lake, row["raw_sha256"]).max() == 0


def test_workers_that_ask_at_once_share_one_pipeline(saved: dict[str, Path]) -> None:
    using = settings(saved["flux_kontext"], guidance=1.5)
    found: list[Any] = []
    threads = [Thread(target=lambda: found.append(load_editor(using, Nothing()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(editor) for editor in found}) == 1


def test_what_does_not_load_is_told_in_one_line(saved: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nobody/nothing: .*`hf download nobody/nothing --revision abc`, or name"):
        load_pipeline(Diffusers(model="nobody/nothing", revision="abc"))
    with pytest.raises(SettingsError, match=r"no file named model_index.json.*put a pipeline in safetensors there"):
        load_pipeline(Diffusers(model=str(tmp_path)))
    with pytest.raises(SettingsError, match="there is no GPU to take weights from"):
        load_pipeline(Diffusers(model=str(saved["flux_kontext"]), device="cpu", offload="model"))
    with pytest.raises(SettingsError, match=r"device: nonsense: .*set it to 'auto'"):
        load_pipeline(Diffusers(model=str(saved["flux_kontext"]), device="nonsense"))


def test_another_kind_of_pipeline_is_named(saved: dict[str, Path], tmp_path: Path) -> None:
    index = json.loads((saved["flux_kontext"] / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    with pytest.raises(SettingsError, match="is a FluxPipeline; supported are FluxKontextPipeline, Qwen"):
        load_pipeline(Diffusers(model=str(tmp_path)))


def test_pickled_weights_are_not_read(saved: dict[str, Path], tmp_path: Path) -> None:
    for file in saved["flux_kontext"].rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(saved["flux_kontext"])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    weights = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(SettingsError, match=r"no file named diffusion_pytorch_model.safetensors"):
        load_pipeline(Diffusers(model=str(tmp_path), dtype="float32"))


def test_what_decides_an_answer_is_known_without_the_model() -> None:
    named = Settings(edit=Edit(engine="diffusers", diffusers=Diffusers(model="not/here", revision="r", batch=4)))
    assert editor_identity(named) == {
        "engine": "diffusers", "model": "not/here", "revision": "r", "dtype": "bfloat16", "steps": 28, "guidance": 2.5,
    }  # fmt: skip
    elsewhere = named.edit.diffusers.model_copy(update={"device": "cpu", "offload": "model", "batch": 1})
    assert editor_identity(Settings(edit=Edit(engine="diffusers", diffusers=elsewhere))) == editor_identity(named)


def kontext(saved: dict[str, Path], **options: Any) -> DiffusersEditor:
    """An editor of its own, whose batch may be halved."""
    using = settings(saved["flux_kontext"], **options).edit.diffusers
    return DiffusersEditor(load_pipeline(using), using)


def watched(editor: DiffusersEditor, monkeypatch: pytest.MonkeyPatch, most: int = 99) -> list[dict[str, Any]]:
    """Write down the pipeline's calls; those of more than `most` edits find no memory."""
    calls: list[dict[str, Any]] = []
    kind = type(editor.pipeline)
    real = kind.__call__

    def call(self: Any, **options: Any) -> Any:
        calls.append(options)
        if len(options["prompt"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, **options)

    monkeypatch.setattr(kind, "__call__", call)
    return calls
