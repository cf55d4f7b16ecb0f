"""GRPO: a refiner that was fine-tuned learns from how its own samples compare with each other.

    for each prompt, a group of samples (training/rollout.py)
    rewards against the truth, advantages within the group (training/rewards.py, training/policy.py)
    for each stochastic step taken: loss = clipped(ratio, advantage) + beta KL + hold (what is lost outside the mask)

Flow-GRPO (Liu et al. 2025) on the paper's own rewards. Chance is keyed by seed, step and sample, as in SFT.

What is lost outside is by how much the error there has grown since the run began. It is a constraint rather than a
reward: its weight rises while something is lost and falls while something is gained, as a Lagrange multiplier does.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from schemas.errors import ProjectError, TrainingError
from schemas.training import Grpo, Training
from training.backbones import Backbone
from training.credit import credit, over
from training.dataset import Batch, Split
from training.flow import schedule
from training.guards import NAMES as GUARDED
from training.guards import tripped, watch
from training.journal import read_metrics
from training.likeness import Likeness
from training.loop import Advance, Done, Figures, Learner, in_turn, learn, let_learn
from training.mean import learning_of, lent
from training.policy import advantages, divergence, error, guarded_ratio, losses, lost, plain_ratio, weight_after
from training.rewards import Patches, by_patch, patches_of, score, total, weighed
from training.rollout import Prompts, Rollout, Taken, branch, clean_of, draw_window, step_of, trunk
from training.sde import Step, log_prob
from training.sheets import draw_groups
from training.shown import pictures, show


@dataclass(frozen=True)
class _Part:
    """Some samples of a batch: which rows of B x G they are, how they came about, the frozen policy's means."""

    rows: Tensor
    rollout: Rollout
    frozen: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Lesson:
    """What a batch teaches: advantages of each prompt's P patches and G samples (B, P, G), and see `Credit`.

    `shares` (B, P) are 0 for patches that tell nothing. `truth` (B, C, h, w): the latents that errors outside the mask
    are from; None without `grpo.hold`. `hold` is the weight of what is lost there.
    """

    advantage: Tensor
    cells: Tensor
    shares: Tensor
    outside: Tensor
    truth: Tensor | None
    hold: float

    @property
    def learnt(self) -> Tensor:
        """Which prompts are learnt from, bool (B,)."""
        return (self.shares > 0).any(dim=1)


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
    let_learn(backbone, grpo)
    began_as = learning_of(backbone.transformer) if grpo.hold or grpo.kl == "frozen" else None
    seen = [line for line in read_metrics(run) if "reward" in line]

    def gradients(learner: Learner, batch: Batch, step: int, figures: Figures) -> Iterator[float]:
        del seen[step:]  # of a run that stopped after its last checkpoint
        word = tripped(settings.guards, seen)
        if word:
            raise TrainingError(
                f"run {run}: after step {step} {word}; the checkpoint before is kept: raise grpo.beta "
                "or grpo.hold, lower grpo.rate, or weigh the rewards otherwise"
            )
        hold = weight_after(grpo.hold, [line["lost"] for line in seen if "lost" in line])
        yield from _gradients(learner, batch, step, figures, likeness, began_as, hold)
        seen.append(dict(figures))

    judge = partial(score, likeness, settings.reward)
    return learn(run, backbone, settings, grpo, split, held_out, gradients, judge, advance)


def _gradients(
    learner: Learner, batch: Batch, step: int, figures: Figures, likeness: Likeness, began_as: dict[str, Tensor] | None,
    hold: float,
) -> Iterator[float]:  # fmt: skip
    settings, grpo, accelerator = learner.settings, learner.settings.grpo, learner.accelerator
    began = time.perf_counter()
    device = next(learner.transformer.parameters()).device
    input, truth, reference = (pictures(one, device) for one in (batch.input, batch.target, batch.reference))
    shown = show(learner.backbone, settings.blind, batch.instructions, input, reference)
    mask = batch.mask.to(device)
    patched = patches_of(mask, settings.reward)
    answers = credit(grpo, patched, mask, *shown.draft.shape[2:])
    prompts = Prompts(shown, answers.varied)
    parts, samples, found, judging = _sampled(learner, batch, step, prompts, truth, mask, patched, likeness, began_as)
    sampled = time.perf_counter()
    summed = (found * answers.shares[..., None]).sum(dim=2)  # of patches: (2, B, G)
    told = accelerator.gather(summed.transpose(0, 1).contiguous()).transpose(0, 1)  # (2, all B, G)
    figures |= _told(learner, likeness, told)
    spread = None
    if grpo.spread == "batch":
        spread = torch.stack([one[torch.isfinite(one)].std(correction=0) for one in told])
    weights = torch.tensor(settings.reward.weights, device=device)
    counted = answers.shares * (weights / weights.sum()).view(-1, 1, 1)  # (2, B, P)
    each = advantages(found.flatten(1, 2), counted.flatten(1), spread)  # a patch is a group: (B P, G), (B P)
    advantage, learnt = (one.view(*counted.shape[1:], *one.shape[1:]) for one in each)
    shares = counted.sum(dim=0) * learnt
    clean = learner.backbone.encode(truth) if grpo.hold else None
    lesson = _Lesson(advantage, answers.cells, shares, answers.outside, clean, hold)
    kept = int(accelerator.gather(lesson.learnt.sum()[None]).sum())
    figures |= {"groups": float(kept), "dropped": float(told.shape[1] - kept)}
    watched = accelerator.gather(watch(samples, truth, reference, mask, learner.backbone.multiple)[None])
    means = zip(GUARDED, watched.nanmean(dim=0).tolist(), strict=True)
    figures |= {f"guard_{name}": value for name, value in means if isfinite(value)}
    figures |= {"sampling": sampled - began, "rewarding": judging}
    if learner.journal and (step + 1 in (1, grpo.steps) or (step + 1) % settings.validation.every == 0):
        sheet = draw_groups(input, reference, samples, truth, total(settings.reward, summed), settings.validation.shown)
        learner.journal.grouped(step + 1, sheet)
    _refuse_broken(learner, figures["broken"])
    if not kept:
        return
    for _ in range(grpo.updates):
        loss, said = _update(learner, prompts, parts, lesson, kept)
        figures |= said
        yield loss


def _sampled(
    learner: Learner, batch: Batch, step: int, prompts: Prompts, truth: Tensor, mask: Tensor, patched: list[Patches],
    likeness: Likeness, began_as: dict[str, Tensor] | None,
) -> tuple[list[_Part], Tensor, Tensor, float]:  # fmt: skip
    """Return a batch's samples in parts, as pictures (B, G, 3, H, W), and their rewards patch by patch (2, B, P, G).

    While one part is sampled, the one before is decoded and rewarded in a thread; last, the seconds that took.
    """
    settings, grpo, backbone = learner.settings, learner.settings.grpo, learner.backbone
    levels = schedule(grpo.sampler, settings.refine.shift)
    window = draw_window(grpo, settings.seed, step)
    keys, count, group = batch.keys, len(batch.keys), grpo.group
    with learner.accelerator.autocast():
        ends = [
            trunk(
                backbone,
                prompts.shown.rows(rows),
                levels,
                window,
                [keys[row] for row in rows],
                settings.seed,
                step,
            )
            for rows in torch.split(torch.arange(count), grpo.at_once)
        ]
    x = torch.cat(ends)
    parts: list[_Part] = []
    judged: list[Future[tuple[Tensor, Tensor, float]]] = []
    with ThreadPoolExecutor(1) as judge:
        for rows in torch.split(torch.arange(count * group), grpo.at_once):
            of = rows // group
            names = [f"{keys[int(prompt)]} {int(row) % group}" for prompt, row in zip(of, rows, strict=True)]
            with learner.accelerator.autocast():
                rollout = branch(backbone, prompts, of, grpo, levels, window, x[of], names, settings.seed, step)
            with learner.accelerator.autocast():  # anew: it remembers what it has cast of the weights before
                frozen = _frozen_means(learner, prompts, of, rollout, began_as)
            parts.append(_Part(rows, rollout, frozen))
            judged.append(judge.submit(_judge, learner, likeness, rollout.latents, of, truth, mask, patched))
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
    samples = torch.cat([pictures for pictures, _, _ in done])
    found = torch.cat([rewards for _, rewards, _ in done], dim=2)  # (2, P, B G)
    rewards = found.view(*found.shape[:2], count, group).transpose(1, 2)
    judging = sum(seconds for _, _, seconds in done)
    return parts, samples.view(count, group, *samples.shape[1:]), rewards, judging


@torch.no_grad()
def _judge(
    learner: Learner, likeness: Likeness, latents: Tensor, of: Tensor, truth: Tensor, mask: Tensor,
    patched: list[Patches],
) -> tuple[Tensor, Tensor, float]:  # fmt: skip
    """Return samples `of` prompts as pictures (N, 3, H, W), their rewards (2, P, N), of patches or of all, and the
    seconds that took.

    Where a sample is no number anywhere, its rewards are none: in a log-prob it would spoil all patches.
    """
    began, by_sample = time.perf_counter(), learner.settings.grpo.credit == "sample"
    samples = learner.backbone.decode(latents)
    sound = torch.isfinite(latents).flatten(1).all(dim=1)
    most = 1 if by_sample else max(len(one.boxes) for one in patched)
    each = []
    for prompt, together in groupby(range(len(of)), of.tolist().__getitem__):  # the truth is looked at once
        rows, found = list(together), patched[prompt]
        one = slice(prompt, prompt + 1)
        rewards = by_patch(likeness, samples[None, rows], truth[one], mask[one], [found])[0]  # (2, P, G)
        rewards = weighed(rewards, found)[:, None] if by_sample else rewards
        rewards = rewards.where(sound[rows], torch.nan)
        each.append(F.pad(rewards, (0, 0, 0, most - rewards.shape[1])))
    rewards = torch.cat(each, dim=2)
    if rewards.is_cuda:
        torch.cuda.current_stream(rewards.device).synchronize()  # else it would be told how long asking took
    return samples, rewards, time.perf_counter() - began


def _frozen_means(
    learner: Learner, prompts: Prompts, of: Tensor, rollout: Rollout, began_as: dict[str, Tensor] | None
) -> tuple[Tensor, ...]:
    """Return the means of the steps taken as the policy that the run began with would have had them."""
    if began_as is None:
        return ()
    grpo = learner.settings.grpo
    with torch.no_grad(), lent(learner.transformer, began_as):
        return tuple(
            step_of(learner.backbone, prompts, of, grpo, t.x, t.now, t.next, t.parting).mean for t in rollout.taken
        )


def _update(
    learner: Learner, prompts: Prompts, parts: list[_Part], lesson: _Lesson, kept: int
) -> tuple[float, Figures]:
    """Leave the gradient of one pass with the weights; return its loss and figures, over all processes.

    The loss is the mean over the samples of the `kept` groups, and the steps they took.
    """
    grpo, accelerator = learner.settings.grpo, learner.accelerator
    share = accelerator.num_processes / (kept * grpo.group * grpo.window)  # gradients are averaged over processes
    sums = torch.zeros(5, device=lesson.shares.device)
    jobs = [(part, number) for part in parts for number in range(grpo.window)]
    for at, (part, number) in enumerate(jobs):
        of, number_in = part.rows // grpo.group, part.rows % grpo.group
        learnt, shares = lesson.learnt[of], lesson.shares[of]  # (N,), (N, P)
        taken = _sound(part.rollout.taken[number], learnt)
        with accelerator.autocast(), in_turn(learner, at + 1 == len(jobs)):
            step = step_of(learner.backbone, prompts, of, grpo, taken.x, taken.now, taken.next, taken.parting)
            ratio = _ratio(grpo, taken, step, lesson.cells, of)  # (N, P)
            frozen = part.frozen[number].where(_wide(learnt), step.mean) if part.frozen else None
            other = taken.mean if frozen is None or grpo.kl == "old" else frozen
            apart = divergence(step.mean, other, taken.std).mean(dim=(1, 2))  # everywhere, not within the mask alone
            grown = torch.zeros_like(apart)
            advantage = lesson.advantage[of, :, number_in]
            per = taken.now - taken.next if grpo.ratio == "guarded" else 1.0
            each = losses(ratio, advantage, shares, apart, grpo.ratio_clip, grpo.beta, per)
            if lesson.truth is not None and frozen is not None:
                truth, outside = lesson.truth[of], lesson.outside[of]
                now, before = (
                    error(clean_of(prompts, of, grpo, mean, taken), truth, outside) for mean in (step.mean, frozen)
                )
                grown = lost(now, before)
                each = each + lesson.hold * grown
            each = each.where(learnt, 0)
            accelerator.backward(each.sum() * share)
        with torch.no_grad():
            moved = (ratio - 1).abs()
            beyond = ((moved > grpo.ratio_clip) * shares).sum(dim=1)
            told = torch.stack([each, apart, beyond, (moved * shares).sum(dim=1), grown])  # (5, N)
            sums += told.where(learnt, 0).sum(dim=1) * share
    loss, apart, beyond, moved, grown = accelerator.reduce(sums, "mean").tolist()
    figures: Figures = {"kl": apart, "clipped": beyond, "moved": moved}
    return loss, figures | ({"lost": grown, "hold": lesson.hold} if grpo.hold else {})


def _sound(taken: Taken, learnt: Tensor) -> Taken:
    """Return a step with nothing in the rows that are not learnt from: what is no number there has no part in it."""
    wide = _wide(learnt)
    return replace(
        taken, x=taken.x.where(wide, 0), reached=taken.reached.where(wide, 0), mean=taken.mean.where(wide, 0),
        log_prob=taken.log_prob.where(learnt.view(-1, 1, 1), 0),
    )  # fmt: skip


def _wide(rows: Tensor) -> Tensor:
    return rows.view(-1, 1, 1, 1)


def _ratio(grpo: Grpo, taken: Taken, step: Step, cells: Tensor, of: Tensor) -> Tensor:
    """Return the ratio of the policy now to the one that sampled, over the cells of each patch: (N, P)."""
    rise = over(log_prob(grpo.sde, step, taken.reached) - taken.log_prob, cells, of)
    if grpo.ratio == "guarded":
        return guarded_ratio(rise, over(divergence(step.mean, taken.mean, taken.std), cells, of), taken.std)
    return plain_ratio(rise)


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
