from pathlib import Path

import pytest
import torch
from torch import Tensor

from schemas.records import EngineFailure
from schemas.training import Tiny
from tests.tasks.engines.test_autoencoder import random_weights
from training.backbones.tiny import TinyBackbone
from training.backbones.within import within
from training.flow import masked_loss, mix, sample, schedule

SMALL = {"patch": 8, "width": 32, "depth": 2, "heads": 2, "words": 64, "length": 6}


def backbone(**changes: object) -> TinyBackbone:
    """A small backbone that has something to say, and heeds the level, as one does that has learnt."""
    torch.manual_seed(0)
    made = TinyBackbone(Tiny.model_validate(SMALL | changes))
    for name, weight in made.transformer.named_parameters():
        if name.endswith(("head.weight", "modulation.weight")):
            torch.nn.init.normal_(weight, std=0.1)
    return made


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("patch", [2, 4, 8, 16, 32])
def test_untrained_it_gives_back_the_draft(patch: int) -> None:
    made = TinyBackbone(Tiny.model_validate(SMALL | {"patch": patch}))
    draft = pictures(2, 3, 32, 64)
    latents, text = made.encode(draft), made.prompt(["Restore the logo.", ""])
    for steps in (1, 5):
        with torch.no_grad():
            end = sample(
                lambda x, sigma: made.velocity(x, latents, latents, text, sigma),
                torch.randn(latents.shape), schedule(steps),
            )  # fmt: skip
        assert torch.allclose(made.decode(end), draft, atol=1e-4)


@pytest.mark.parametrize("patch", [2, 8, 16])
def test_the_answer_depends_on_reference_words_and_level_and_on_no_other_row(patch: int) -> None:
    made = backbone(patch=patch)
    noisy, input = torch.randn(2, 3, 32, 48), made.encode(pictures(2, 3, 32, 48))
    reference = made.encode(pictures(2, 3, 48, 32, seed=2))  # of another size
    text, sigma = made.prompt(["Restore the logo.", "Mend the face."]), torch.tensor([0.4, 0.4])

    def answer(**changes: object) -> Tensor:
        using = {"noisy": noisy, "input": input, "reference": reference, "text": text, "sigma": sigma} | changes
        with torch.no_grad():
            return made.velocity(**using)  # type: ignore[arg-type]

    plain = answer()
    assert plain.shape == noisy.shape
    other = answer(reference=torch.stack([reference[1], reference[1]]))
    assert not torch.allclose(other[0], plain[0])
    assert torch.allclose(other[1], plain[1], atol=1e-6)
    assert not torch.allclose(answer(reference=None), plain)
    words = answer(text=made.prompt(["Mend the face.", "Mend the face."]))
    assert not torch.allclose(words[0], plain[0])
    assert torch.allclose(words[1], plain[1], atol=1e-6)
    assert not torch.allclose(answer(input=input.flip(3)), plain)


def test_gradients_reach_both_pictures_and_all_that_learns_with_and_without_checkpointing() -> None:
    made = backbone()
    noisy, text, sigma = torch.randn(1, 3, 16, 16), made.prompt(["Restore the logo."]), torch.tensor([0.5])
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            made.transformer.enable_gradient_checkpointing()  # type: ignore[operator]
        made.transformer.zero_grad()
        input, reference = (torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
        input.requires_grad_()
        reference.requires_grad_()
        made.velocity(noisy, input, reference, text, sigma).square().mean().backward()  # type: ignore[no-untyped-call]
        assert input.grad is not None
        assert reference.grad is not None
        assert reference.grad.abs().sum() > 0
        grads = {name: tensor.grad for name, tensor in made.transformer.named_parameters()}
        assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())
        found.append([input.grad, reference.grad, *grads.values()])
    for plain, checkpointed in zip(*found, strict=True):
        assert torch.allclose(plain, checkpointed, atol=1e-6)


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_with_the_autoencoder_it_works_on_latents(patch: int, tmp_path: Path) -> None:
    made = backbone(patch=patch, autoencoder=random_weights(tmp_path / "random.safetensors"))
    latents = made.encode(pictures(2, 3, 32, 64))
    assert latents.shape == (2, 32, 4, 8)
    assert made.decode(latents).shape == (2, 3, 32, 64)
    assert made.velocity(latents, latents, latents, made.prompt(["a", "b"]), torch.ones(2)).shape == latents.shape
    with pytest.raises(EngineFailure, match="cannot read the autoencoder's weights"):
        backbone(autoencoder=tmp_path / "none.safetensors")


@pytest.mark.parametrize("latent", [False, True])
def test_pictures_stay_within_their_range_and_lead_gradients_back_from_beyond(latent: bool, tmp_path: Path) -> None:
    made = backbone(autoencoder=random_weights(tmp_path / "random.safetensors")) if latent else backbone()
    shape = (1, 32, 2, 2) if latent else (1, 3, 8, 8)
    latents = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    decoded = made.decode(latents)
    assert decoded.min() == 0
    assert decoded.max() <= 1
    assert within(torch.tensor([-torch.inf, 0.3, torch.inf])).tolist() == pytest.approx([0, 0.3, 1])
    (gradient,) = torch.autograd.grad((decoded - 0.5).square().sum(), latents)
    assert (gradient != 0).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_it_says_of_the_reference_is_how_much_of_it_is_copied(share: float) -> None:
    made = TinyBackbone(Tiny.model_validate(SMALL))  # its head says nothing
    with torch.no_grad():
        bias = made.transformer.head.bias.view(7, -1)  # type: ignore[union-attr, operator]  # torch types no submodules
        bias[3] = share  # after three channels of paint, before three of light
        bias[4:] = torch.tensor([[0.1], [0.0], [-0.2]])  # in other light
    draft, beside, noisy = (made.encode(pictures(1, 3, 16, 24, seed=seed)) for seed in (2, 3, 4))
    sigma = torch.tensor([0.5])
    velocity = made.velocity(noisy, draft, beside, made.prompt(["a"]), sigma)
    lit = beside + torch.tensor([0.1, 0.0, -0.2]).view(1, 3, 1, 1)
    clean = noisy - sigma.view(-1, 1, 1, 1) * velocity
    assert torch.allclose(clean, (1 - share) * draft + share * lit, atol=1e-5)


def test_it_learns_to_look_the_colour_up_in_the_reference() -> None:
    """Grey in the draft, coloured in the reference: no blind model could know."""
    torch.manual_seed(0)
    made = TinyBackbone(Tiny.model_validate(SMALL))
    optimizer = torch.optim.AdamW(made.transformer.parameters(), 3e-3)
    random = torch.Generator().manual_seed(3)
    text = made.prompt(["Restore the colour."] * 8)

    def triple() -> tuple[Tensor, Tensor, Tensor]:
        target = torch.rand(8, 3, 1, 1, generator=random).expand(8, 3, 16, 16).clone()
        draft, reference = target.clone(), target.clone()
        draft[..., 8:] = 0.5
        return made.encode(draft), made.encode(reference), made.encode(target)

    mask = torch.zeros(8, 1, 16, 16)
    mask[..., 8:] = 1
    for _ in range(100):
        input, reference, target = triple()
        noise, sigma = torch.randn(target.shape, generator=random), torch.rand(8, generator=random)
        velocity = made.velocity(mix(target, noise, sigma), input, reference, text, sigma)
        loss = masked_loss(velocity, noise - target, mask).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(made.transformer.parameters(), 1)
        optimizer.step()
    input, reference, target = triple()
    with torch.no_grad():
        end = sample(
            lambda x, sigma: made.velocity(x, input, reference, text, sigma),
            torch.randn(target.shape, generator=random), schedule(4),
        )  # fmt: skip
    assert (end - target).square().mean() < 0.25 * (input - target).square().mean()
