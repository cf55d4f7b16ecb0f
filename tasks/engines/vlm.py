"""The judge and writer: what a vision-language model does in stages 1, 2 and 4, whichever engine does it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from schemas.records import (
    EditInstruction,
    EngineFailure,
    Mask,
    PairJudgement,
    Photo,
    Pixels,
    Refusal,
    RestoreInstruction,
    Verdict,
)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class PairQuestion:
    """Stage 1: do these two photos pair? `known_same`: their source says that they show one product."""

    pair_id: str
    target: Photo
    reference: Photo
    known_same: bool = False


@dataclass(frozen=True)
class EditQuestion:
    """Stage 2: up to `count` edits of the target, each in a region that the reference shows."""

    pair_id: str
    target: Photo
    reference: Photo
    count: int


@dataclass(frozen=True)
class RestoreQuestion:
    """Stage 4: which words restore the target from the input and the reference?"""

    quadruplet_id: str
    input: Pixels
    reference: Photo
    target: Photo
    mask: Mask
    instruction: EditInstruction


@dataclass(frozen=True)
class JudgeQuestion(RestoreQuestion):
    """Is this quadruplet right: was done what was asked for, only there, and do the words lead back?"""

    restoration: str


class Judge(Protocol):
    """An engine that judges what was written and edited, as a `Writer` answers."""

    def judge_quadruplets(self, questions: Sequence[JudgeQuestion]) -> "list[Verdict | Refusal | EngineFailure]": ...


class Writer(Protocol):
    """An engine that judges pairs and writes instructions, a batch at a time, answers in the order of the questions.

    An item that is turned down comes back as a `Refusal`, one that could not be answered as an `EngineFailure`:
    one item never takes its batch down.
    """

    def judge_pairs(self, questions: Sequence[PairQuestion]) -> "list[PairJudgement | Refusal | EngineFailure]": ...

    def write_edits(
        self, questions: Sequence[EditQuestion]
    ) -> "list[list[EditInstruction] | Refusal | EngineFailure]": ...

    def write_restores(
        self, questions: Sequence[RestoreQuestion]
    ) -> "list[RestoreInstruction | Refusal | EngineFailure]": ...


def one_by_one(answer: Callable[[Item], Answer], items: Iterable[Item]) -> "list[Answer | Refusal | EngineFailure]":
    """Answer each item by itself; what it raises becomes its outcome."""
    outcomes: list[Answer | Refusal | EngineFailure] = []
    for item in items:
        try:
            outcomes.append(answer(item))
        except (Refusal, EngineFailure) as outcome:
            outcomes.append(outcome)
        except Exception as error:  # an engine's bug or a broken dependency must not lose the batch
            outcomes.append(EngineFailure(f"{type(error).__name__}: {error}"))
    return outcomes
