"""Engines that answer at once, and always the same: what then remains of a job's time is the orchestration."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.ids import stream
from schemas.records import (
    Category,
    EditInstruction,
    Operation,
    PairJudgement,
    Photo,
    Pixels,
    Polygon,
    RestoreInstruction,
)
from schemas.settings import Settings
from tasks import block, dedup, edit, instruct, pair, restore
from tasks.engines.editor import EditRequest
from tasks.engines.overlay import Overlay
from tasks.engines.vlm import EditQuestion, PairQuestion, RestoreQuestion


class Instant:
    """Judge, writer and editor in one: every pair is right, every edit inverts a square of the target."""

    def judge_pairs(self, questions: Sequence[PairQuestion]) -> list[PairJudgement]:
        return [PairJudgement(same_product=1, style=1, viewpoint=1, reason="stand-in") for _ in questions]

    def write_edits(self, questions: Sequence[EditQuestion]) -> list[list[EditInstruction]]:
        return [[_instruction(question.pair_id, number) for number in range(question.count)] for question in questions]

    def write_restores(self, questions: Sequence[RestoreQuestion]) -> list[RestoreInstruction]:
        return [RestoreInstruction(sentence="Restore the square from the reference.") for _ in questions]

    def edit(self, requests: Sequence[EditRequest]) -> list[Pixels]:
        return [_inverted(request.target.pixels, request.instruction.region) for request in requests]


def stand_in() -> None:
    """Have `Instant` answer the stages; photos are embedded by their mean colours, and none are one picture."""
    instant = Instant()

    def engine(_settings: Settings, *_memory: object) -> Instant:
        return instant

    for stage in (pair, instruct, restore):
        vars(stage)["load_writer"] = engine
    vars(edit)["load_editor"] = engine
    vars(block)["vector_once"] = _mean_colours
    vars(dedup)["overlay"] = _apart


def _apart(_one: Photo, _other: Photo, _form: int) -> Overlay:
    return Overlay(overlap=1.0, alike=0.0, exact=0.0, unlike=1.0)


def _instruction(pair_id: str, number: int) -> EditInstruction:
    left, top = (float(share) for share in stream(0, pair_id, number).uniform(0.1, 0.6, 2))
    right, bottom = left + 0.25, top + 0.25
    return EditInstruction(
        task=Operation.RECOLOUR.task,
        category=Category.OBJECT_DETAIL,
        operation=Operation.RECOLOUR,
        region=((left, top), (right, top), (right, bottom), (left, bottom)),
        sentence="Invert the square.",
        subject="the square",
        place="where it is",
    )


def _inverted(target: Pixels, region: Polygon) -> Pixels:
    height, width, _ = target.shape
    (left, top), (right, bottom) = region[0], region[2]
    square = np.s_[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    edited = target.copy()
    edited[square] = 255 - edited[square]
    return edited


def _mean_colours(photo: Photo) -> NDArray[np.float32]:
    means: NDArray[np.float64] = photo.pixels[::8, ::8].reshape(-1, 3).mean(axis=0, dtype=np.float64) + 1
    return np.asarray(means / np.linalg.norm(means), np.float32)
