"""The backbones around pipelines of diffusers, tiny and of random weights: what they do must be what diffusers does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from schemas.errors import SettingsError, WeightsError
from schemas.training import Klein, Kontext, QwenImageEdit
from tests.tasks.engines import tiny_pipelines
from training.backbones import Backbone
from training.backbones.flux2_klein import open_flux2_klein
from training.backbones.flux_kontext import open_flux_kontext
from training.backbones.pipelines import load
from training.backbones.qwen_image_edit import open_qwen_image_edit
from training.flow import sample
from training.lora import FILE, add_lora, load_lora, lora_of, save_lora

NAMES = ("flux_kontext", "qwen_image_edit", "flux2_klein")
WORDS = ["Restore the logo on the lid.", "Mend."]


@pytest.fixture(scope="module", autouse=True)
def small_qwen() -> Any:
    """Let Qwen's pipeline look at small pictures, and do without the reader of videos, which needs torchvision."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwen
    from transformers import Qwen2VLProcessor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qwen, "VAE_IMAGE_SIZE", 64 * 64)
        patch.setattr(qwen, "CONDITION_IMAGE_SIZE", 64 * 64)
        patch.setattr(Qwen2VLProcessor, "get_attributes", classmethod(lambda _cls: ["image_processor", "tokenizer"]))
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    makers = (tiny_pipelines.flux_kontext, tiny_pipelines.qwen_image_edit_plus, tiny_pipelines.flux2_klein)
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in zip(NAMES, makers, strict=True)}


@pytest.fixture(params=NAMES)
def backbone(request: pytest.FixtureRequest, saved: dict[str, Path]) -> Any:
    return opened(request.param, saved)


def opened(name: str, saved: dict[str, Path]) -> Any:
    """A backbone of its own."""
    model = {"model": str(saved[name]), "dtype": "float32"}
    match name:
        case "flux_kontext":
            return open_flux_kontext(Kontext.model_validate(model))
        case "qwen_image_edit":
            return open_qwen_image_edit(QwenImageEdit.model_validate(model))
    return open_flux2_klein(Klein.model_validate(model))


def pictures(count: int, height: int = 64, width: int = 64, seed: int = 1) -> Tensor:
    """Pictures whose values are those of bytes."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, height, width), generator=random).float() / 255


def as_image(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def noise_like(latents: Tensor, seed: int = 7) -> Tensor:
    return torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))


def painted(backbone: Backbone, draft: Tensor, reference: Tensor | None, sigmas: Tensor) -> Tensor:
    shown = [draft] if reference is None else [draft, reference]
    text, input = backbone.prompt(WORDS[:1], shown), backbone.encode(draft)
    beside = None if reference is None else backbone.encode(reference)
    with torch.no_grad():
        end = sample(lambda x, sigma: backbone.velocity(x, input, beside, text, sigma), noise_like(input), sigmas)
    return backbone.decode(end)


def test_without_a_reference_kontext_paints_what_its_pipeline_paints(saved: dict[str, Path]) -> None:
    backbone = opened("flux_kontext", saved)
    draft, pipeline = pictures(1, 64, 96), backbone.pipeline
    latents = noise_like(backbone.encode(draft))
    expected = pipeline(
        image=as_image(draft[0]), prompt=WORDS[0], height=64, width=96, max_area=64 * 96, _auto_resize=False,
        num_inference_steps=3, guidance_scale=3.5, output_type="pt",
        latents=pipeline._pack_latents(latents, *latents.shape),
    ).images  # fmt: skip
    assert torch.allclose(painted(backbone, draft, None, pipeline.scheduler.sigmas), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen_image_edit", "flux2_klein"])
def test_with_a_reference_the_others_paint_what_their_pipelines_paint(name: str, saved: dict[str, Path]) -> None:
    backbone = opened(name, saved)
    draft, reference, pipeline = pictures(1), pictures(1, seed=2), backbone.pipeline
    latents = noise_like(backbone.encode(draft))
    own: dict[str, Any] = {"guidance_scale": 1.0, "latents": latents}
    if name == "qwen_image_edit":
        own = {"true_cfg_scale": 1.0, "latents": pipeline._pack_latents(latents, *latents.shape)}
    expected = pipeline(
        image=[as_image(draft[0]), as_image(reference[0])], prompt=WORDS[0], height=64, width=64,
        num_inference_steps=3, output_type="pt", **own,
    ).images  # fmt: skip
    assert torch.allclose(painted(backbone, draft, reference, pipeline.scheduler.sigmas), expected, atol=1e-4)


def test_the_ids_of_kontext_are_those_of_the_papers_figure(saved: dict[str, Path]) -> None:
    backbone = opened("flux_kontext", saved)
    asked: dict[str, Any] = {}
    backbone.transformer.register_forward_pre_hook(
        lambda _module, _args, kwargs: asked.update(kwargs), with_kwargs=True
    )
    input, reference = backbone.encode(pictures(1, 32, 48)), backbone.encode(pictures(1, 64, 32))
    backbone.velocity(input, input, reference, backbone.prompt(["x"]), torch.ones(1))
    sides = [(latents.shape[2] // 2, latents.shape[3] // 2) for latents in (input, input, reference)]
    wanted = [[kind, h, w] for kind, (down, across) in enumerate(sides) for h in range(down) for w in range(across)]
    assert asked["img_ids"].tolist() == wanted
    assert asked["hidden_states"].shape[1] == len(wanted)
    assert not asked["txt_ids"].any()


def test_another_reference_another_answer_and_gradients_reach_both_pictures(backbone: Backbone) -> None:
    input, reference = backbone.encode(pictures(2)), backbone.encode(pictures(2, 32, 96, seed=2))
    text, sigma = backbone.prompt(WORDS), torch.tensor([0.3, 0.8])
    noisy = noise_like(input)
    input.requires_grad_()
    reference.requires_grad_()
    plain = backbone.velocity(noisy, input, reference, text, sigma)
    assert plain.shape == noisy.shape
    plain.square().mean().backward()  # type: ignore[no-untyped-call]
    for picture in (input, reference):
        assert picture.grad is not None
        assert (picture.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    with torch.no_grad():
        swapped = backbone.velocity(noisy, input, reference.flip(0), text, sigma)
        blind = backbone.velocity(noisy, input, None, text, sigma)
    for other in (swapped, blind):
        assert ((other - plain).abs().amax(dim=(1, 2, 3)) > 1e-5).all()


def test_each_row_keeps_its_own_words_pictures_and_level(backbone: Backbone) -> None:
    draft, beside = pictures(2), pictures(2, seed=2)
    noisy, sigma = noise_like(backbone.encode(draft)), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        together = backbone.velocity(
            noisy, backbone.encode(draft), backbone.encode(beside), backbone.prompt(WORDS, [draft, beside]), sigma
        )
        for row in range(2):
            one = slice(row, row + 1)
            alone = backbone.velocity(
                noisy[one], backbone.encode(draft[one]), backbone.encode(beside[one]),
                backbone.prompt(WORDS[one], [draft[one], beside[one]]), sigma[one],
            )  # fmt: skip
            assert torch.allclose(together[one], alone, atol=1e-5)
        other = backbone.prompt([WORDS[0], "Turn it blue."], [draft, beside])
        said = backbone.velocity(noisy, backbone.encode(draft), backbone.encode(beside), other, sigma)
    assert (said[1] - together[1]).abs().max() > 1e-6
    assert torch.allclose(said[0], together[0], atol=1e-5)


def test_pictures_come_back_from_latents_in_their_size_and_range(backbone: Backbone) -> None:
    latents = backbone.encode(pictures(2, 2 * backbone.multiple, 3 * backbone.multiple))
    back = backbone.decode(latents)
    assert back.shape == (2, 3, 2 * backbone.multiple, 3 * backbone.multiple)
    assert back.min() >= 0
    assert back.max() <= 1
    latents.requires_grad_()
    (gradient,) = torch.autograd.grad((backbone.decode(latents) - 0.5).square().sum(), latents)  # for a loss in pixels
    assert gradient.abs().sum(dim=(1, 2, 3)).min() > 0


def test_lora_goes_to_attention_and_feed_forward_learns_and_loads_in_plain_diffusers(
    backbone: Backbone, saved: dict[str, Path], tmp_path: Path
) -> None:
    targets = backbone.lora_targets
    for part in ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_k_proj", "attn.add_v_proj"):
        assert any(name.endswith(part) for name in targets)
    assert any(".ff." in name or "mlp" in name for name in targets)
    assert not any("norm" in name or "mod" in name or "embed" in name for name in targets)
    input, text, sigma = backbone.encode(pictures(1)), backbone.prompt(WORDS[:1], [pictures(1)]), torch.tensor([0.5])
    reference, noisy = backbone.encode(pictures(1, seed=2)), noise_like(input)

    def answer(of: Backbone) -> Tensor:
        return of.velocity(noisy, input, reference, text, sigma)

    untouched = answer(backbone).detach()
    weights = add_lora(backbone.transformer, targets, rank=2, alpha=6)
    assert len(weights) == 2 * len(targets)
    assert torch.equal(answer(backbone), untouched)
    optimizer = torch.optim.AdamW(weights, 1e-2)
    for _ in range(2):
        answer(backbone).square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learnt = answer(backbone).detach()
    assert (learnt - untouched).abs().max() > 1e-4
    save_lora(tmp_path / FILE, backbone.transformer, lora_of(backbone.transformer, backbone.transformer.state_dict()))

    plain = opened(backbone.name, saved)
    plain.pipeline.load_lora_weights(tmp_path)
    assert torch.allclose(answer(plain), learnt, atol=1e-5)
    ours = opened(backbone.name, saved)
    load_lora(tmp_path / FILE, ours.transformer, ours.lora_targets)
    assert torch.allclose(answer(ours), learnt, atol=1e-6)


def test_lora_of_another_transformer_is_told_in_one_line(saved: dict[str, Path], tmp_path: Path) -> None:
    flux, qwen = opened("flux_kontext", saved), opened("qwen_image_edit", saved)
    add_lora(flux.transformer, flux.lora_targets, rank=2, alpha=2)
    save_lora(tmp_path / FILE, flux.transformer, lora_of(flux.transformer, flux.transformer.state_dict()))
    with pytest.raises(
        WeightsError, match=r"the transformer has no layer single_.*; name one that was trained on this"
    ):
        load_lora(tmp_path / FILE, qwen.transformer, qwen.lora_targets)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / FILE).read_bytes()[:500])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_lora(tmp_path / "cut.safetensors", qwen.transformer, qwen.lora_targets)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_lora(tmp_path / "none.safetensors", qwen.transformer, qwen.lora_targets)


def test_gradient_checkpointing_passes_through_and_changes_nothing(backbone: Any) -> None:
    weights = add_lora(backbone.transformer, backbone.lora_targets, rank=2, alpha=2)
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(weight)))
    input, text, sigma = backbone.encode(pictures(1)), backbone.prompt(WORDS[:1]), torch.tensor([0.5])
    recomputed = []
    block = backbone.transformer.transformer_blocks[0]
    block.register_forward_pre_hook(lambda _module, _args: recomputed.append(1))
    found = []
    for _ in range(2):
        backbone.velocity(noise_like(input), input, input, text, sigma).square().mean().backward()
        found.append(([weight.grad for weight in weights], len(recomputed)))
        backbone.transformer.zero_grad()
        backbone.transformer.enable_gradient_checkpointing()
    assert [calls for _, calls in found] == [1, 3]
    for plain, checkpointed in zip(found[0][0], found[1][0], strict=True):
        assert plain is not None
        assert checkpointed is not None
        assert torch.allclose(plain, checkpointed, atol=1e-6)


def test_in_bfloat16_latents_stay_float32_and_lora_learns_in_float32(saved: dict[str, Path]) -> None:
    backbone = open_flux_kontext(Kontext(model=str(saved["flux_kontext"])))
    weights = add_lora(backbone.transformer, backbone.lora_targets, rank=2, alpha=2)
    input = backbone.encode(pictures(1))
    answer = backbone.velocity(noise_like(input), input, input, backbone.prompt(["x"]), torch.tensor([0.5]))
    answer.square().mean().backward()  # type: ignore[no-untyped-call]
    assert (input.dtype, answer.dtype) == (torch.float32, torch.float32)
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert all(weight.grad is not None for weight in weights)


def test_what_does_not_load_is_told_in_one_line(saved: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"flux_kontext.model: nobody/nothing: .*`hf download nobody/nothing`, or"):
        open_flux_kontext(Kontext(model="nobody/nothing"))
    with pytest.raises(SettingsError, match=r"no file named model_index.json.*put a pipeline in safetensors there"):
        open_flux2_klein(Klein(model=str(tmp_path)))
    with pytest.raises(SettingsError, match=r"is a FluxKontextPipeline; flux2_klein needs a Flux2KleinPipeline"):
        load(Klein(model=str(saved["flux_kontext"])), "flux2_klein", "Flux2KleinPipeline")
