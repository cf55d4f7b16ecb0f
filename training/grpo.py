"""GRPO: a refiner that was fine-tuned learns from how its own samples compare with each other.

    for each prompt, a group of samples (training/rollout.py)
    rewards against the truth, advantages within the group (training/rewards.py, training/policy.py)
    for each stochastic step taken: loss = clipped(ratio, advantage) + beta KL

Flow-GRPO (Liu et al. 2025) on the paper's own rewards. Chance is keyed by seed, step and sample, as in SFT.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from schemas.errors import ProjectError, TrainingError
from schemas.training import Grpo, Training
from training.backbones import Backbone
from training.dataset import Batch, Split
from training.flow import schedule
from training.guards import NAMES as GUARDED
from training.guards import tripped, watch
from training.journal import read_metrics
from training.likeness import Likeness
from training.loop import Advance, Done, Figures, Learner, in_turn, learn, learning_weights
from training.mean import learning_of, lent
from training.policy import advantages, clipped, divergence, guarded_ratio, plain_ratio
from training.rewards import rewards, score, total
from training.rollout import Rollout, Taken, branch, draw_window, step_of, trunk
from training.sde import Step, log_prob
from training.sheets import draw_groups
from training.shown import Shown, pictures, show


@dataclass(frozen=True)
class _Part:
    """Some samples of a batch: which rows of B x G they are, how they came about, the frozen policy's means."""

    rows: Tensor
    rollout: Rollout
    frozen: tuple[Tensor, ...]


def train(
    likeness: Likeness,
    run: Path,
    backbone: Backbone,
    settings: Training,
    split: Split,
    held_out: Split | None,
    advance: Advance = lambda steps, note: None,
) -> Done:
    """Learn up to `settings.grpo.steps`; see `training.loop.learn`.

    Raises TrainingError besides where a guard goes off, rewards are no numbers, or what gives them fails.
    """
    grpo = settings.grpo
    weights = learning_weights(backbone, grpo)
    began_as = learning_of(backbone.transformer) if grpo.kl == "frozen" and grpo.beta else None
    seen = [line for line in read_metrics(run) if "reward" in line]

    def gradients(learner: Learner, batch: Batch, step: int, figures: Figures) -> Iterator[float]:
        del seen[step:]  # of a run that stopped after its last checkpoint
        word = tripped(settings.guards, seen)
        if word:
            raise TrainingError(
                f"run {run}: after step {step} {word}; the checkpoint before is kept: raise grpo.beta, lower "
                "grpo.rate, or weigh the rewards otherwise"
            )
        yield from _gradients(learner, batch, step, figures, likeness, began_as)
        seen.append(dict(figures))

    judge = partial(score, likeness, settings.reward)
    return learn(run, backbone, settings, grpo, weights, split, held_out, gradients, judge, advance)


def _gradients(
    learner: Learner, batch: Batch, step: int, figures: Figures, likeness: Likeness, began_as: dict[str, Tensor] | None
) -> Iterator[float]:
    settings, grpo, accelerator = learner.settings, learner.settings.grpo, learner.accelerator
    began = time.perf_counter()
    device = next(learner.transformer.parameters()).device
    input, truth, reference = (pictures(one, device) for one in (batch.input, batch.target, batch.reference))
    shown = show(learner.backbone, settings.blind, batch.instructions, input, reference)
    mask = batch.mask.to(device)
    parts, samples, found = _sampled(learner, batch, step, shown, truth, mask, likeness, began_as)
    sampled = time.perf_counter()
    told = accelerator.gather(found.transpose(0, 1).contiguous()).transpose(0, 1)  # (2, all B, G)
    figures |= _told(learner, likeness, told)
    spread = None
    if grpo.spread == "batch":
        spread = torch.stack([one[torch.isfinite(one)].std(correction=0) for one in told])
    weights = torch.tensor(settings.reward.weights, device=device)
    advantage, learnt = advantages(found, weights, spread)
    kept = int(accelerator.gather(learnt.sum()[None]).sum())
    figures |= {"groups": float(kept), "dropped": float(told.shape[1] - kept)}
    watched = accelerator.gather(watch(samples, truth, reference, mask, learner.backbone.multiple)[None])
    means = zip(GUARDED, watched.nanmean(dim=0).tolist(), strict=True)
    figures |= {f"guard_{name}": value for name, value in means if isfinite(value)}
    figures["sampling"] = sampled - began
    if learner.journal and (step + 1 in (1, grpo.steps) or (step + 1) % settings.validation.every == 0):
        sheet = draw_groups(input, reference, samples, truth, total(settings.reward, found), settings.validation.shown)
        learner.journal.grouped(step + 1, sheet)
    _refuse_broken(learner, figures["broken"])
    if not kept:
        return
    for _ in range(grpo.updates):
        loss, said = _update(learner, shown, parts, advantage.flatten(), learnt.repeat_interleave(grpo.group), kept)
        figures |= said
        yield loss


def _sampled(
    learner: Learner, batch: Batch, step: int, shown: Shown, truth: Tensor, mask: Tensor, likeness: Likeness,
    began_as: dict[str, Tensor] | None,
) -> tuple[list[_Part], Tensor, Tensor]:  # fmt: skip
    """Return a batch's samples in parts, as pictures (B, G, 3, H, W), and their rewards (2, B, G).

    While one part is sampled, the one before is decoded and rewarded in a thread.
    """
    settings, grpo, backbone = learner.settings, learner.settings.grpo, learner.backbone
    levels = schedule(grpo.sampler, settings.refine.shift)
    window = draw_window(grpo, settings.seed, step)
    prompts, group = len(batch.keys), grpo.group
    with learner.accelerator.autocast():
        ends = [
            trunk(backbone, shown.rows(rows), levels, window, [batch.keys[row] for row in rows], settings.seed, step)
            for rows in torch.split(torch.arange(prompts), grpo.at_once)
        ]
    x = torch.cat(ends)
    parts: list[_Part] = []
    judged: list[Future[tuple[Tensor, Tensor]]] = []
    with ThreadPoolExecutor(1) as judge:
        for rows in torch.split(torch.arange(prompts * group), grpo.at_once):
            of = rows // group
            names = [f"{batch.keys[int(prompt)]} {int(row) % group}" for prompt, row in zip(of, rows, strict=True)]
            with learner.accelerator.autocast():
                rollout = branch(backbone, shown, of, grpo, levels, window, x[of], names, settings.seed, step)
            with learner.accelerator.autocast():  # anew: it remembers what it has cast of the weights before
                frozen = _frozen_means(learner, shown, of, rollout, began_as)
            parts.append(_Part(rows, rollout, frozen))
            judged.append(judge.submit(_judge, learner, likeness, rollout.latents, truth[of], mask[of]))
        try:
            done = [one.result() for one in judged]
        except (ProjectError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a network raises
            what = " ".join(str(error).split())[:200] or type(error).__name__
            raise TrainingError(
                f"run {learner.run}: at step {step + 1} the reward '{likeness.name}' failed ({what}); mend that and "
                "start the same run again: it goes on from its last checkpoint"
            ) from error
    samples = torch.cat([pictures for pictures, _ in done])
    found = torch.cat([each for _, each in done], dim=1)  # (2, B G)
    return parts, samples.view(prompts, group, *samples.shape[1:]), found.view(len(found), prompts, group)


def _judge(learner: Learner, likeness: Likeness, latents: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    samples = learner.backbone.decode(latents)
    return samples, rewards(likeness, learner.settings.reward, samples[:, None], truth, mask)[:, :, 0]


def _frozen_means(
    learner: Learner, shown: Shown, of: Tensor, rollout: Rollout, began_as: dict[str, Tensor] | None
) -> tuple[Tensor, ...]:
    """Return the means of the steps taken as the policy that the run began with would have had them."""
    if began_as is None:
        return ()
    grpo = learner.settings.grpo
    with torch.no_grad(), lent(learner.transformer, began_as):
        return tuple(
            step_of(learner.backbone, shown, of, grpo, t.x, t.now, t.next, t.parting).mean for t in rollout.taken
        )


def _update(
    learner: Learner, shown: Shown, parts: list[_Part], advantage: Tensor, learnt: Tensor, kept: int
) -> tuple[float, Figures]:
    """Leave the gradient of one pass with the weights; return its loss and figures, over all processes.

    `advantage`, `learnt` (B G). The loss is the mean over the samples of the `kept` groups, and the steps they took.
    """
    grpo, accelerator = learner.settings.grpo, learner.accelerator
    share = accelerator.num_processes / (kept * grpo.group * grpo.window)  # gradients are averaged over processes
    sums = torch.zeros(4, device=advantage.device)
    jobs = [(part, number) for part in parts for number in range(grpo.window)]
    for at, (part, number) in enumerate(jobs):
        rows = part.rows.to(advantage.device)
        taken = _sound(part.rollout.taken[number], learnt[rows])
        with accelerator.autocast(), in_turn(learner, at + 1 == len(jobs)):
            of = part.rows // grpo.group
            step = step_of(learner.backbone, shown, of, grpo, taken.x, taken.now, taken.next, taken.parting)
            ratio = _ratio(grpo, taken, step)
            other = part.frozen[number].where(_wide(learnt[rows]), step.mean) if part.frozen else taken.mean
            apart = divergence(step.mean, other, taken.std)
            gone = clipped(ratio, advantage[rows], grpo.ratio_clip)
            if grpo.ratio == "guarded":
                gone = gone / (taken.now - taken.next)
            each = torch.where(learnt[rows], gone + grpo.beta * apart, 0)
            accelerator.backward(each.sum() * share)
        with torch.no_grad():
            moved = (ratio - 1).abs()
            told = torch.stack([each, apart, (moved > grpo.ratio_clip).float(), moved])  # (4, N)
            sums += told.where(learnt[rows], 0).sum(dim=1) * share
    loss, apart, beyond, moved = accelerator.reduce(sums, "mean").tolist()
    return loss, {"kl": apart, "clipped": beyond, "moved": moved}


def _sound(taken: Taken, learnt: Tensor) -> Taken:
    """Return a step with nothing in the rows that are not learnt from: what is no number there has no part in it."""
    wide = _wide(learnt)
    return replace(
        taken, x=taken.x.where(wide, 0), reached=taken.reached.where(wide, 0), mean=taken.mean.where(wide, 0),
        log_prob=taken.log_prob.where(learnt, 0),
    )  # fmt: skip


def _wide(rows: Tensor) -> Tensor:
    return rows.view(-1, 1, 1, 1)


def _ratio(grpo: Grpo, taken: Taken, step: Step) -> Tensor:
    """Return the ratio of the policy now to the one that sampled, (N,)."""
    now = log_prob(grpo.sde, step, taken.reached)
    if grpo.ratio == "guarded":
        return guarded_ratio(now, taken.log_prob, step.mean, taken.mean, taken.std)
    return plain_ratio(now, taken.log_prob)


def _told(learner: Learner, likeness: Likeness, rewards: Tensor) -> Figures:
    """Return the figures of all rewards of a batch (2, B, G); what is no number is left out of them, and counted."""
    sound = torch.isfinite(rewards).all(dim=0)  # (B, G)
    figures: Figures = {"broken": 1 - float(sound.float().mean())}
    if sound.any():
        figures["reward"] = float(total(learner.settings.reward, rewards)[sound].mean())
    for kind, one in zip((likeness.name, "pixels"), rewards, strict=True):
        within = one.std(dim=1, correction=0)
        told = {f"reward_{kind}": one[sound].mean(), f"spread_{kind}": within[torch.isfinite(within)].mean()}
        figures |= {name: float(value) for name, value in told.items() if torch.isfinite(value)}
    return figures


def _refuse_broken(learner: Learner, broken: float) -> None:
    """Raise TrainingError where too many rewards of a batch are no numbers."""
    if broken > learner.settings.guards.broken or broken == 1:
        raise TrainingError(
            f"run {learner.run}: {broken:.0%} of the rewards are no numbers; the checkpoint before is kept: look at "
            "the last sheet of groups, and begin another run with a lower grpo.rate or grpo.noise"
        )
