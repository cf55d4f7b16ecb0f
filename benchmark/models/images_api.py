"""Models behind the images API as refiners: commercial ones speak it too. All problems of a chunk are sent at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.cases import Problem
from benchmark.models import Answer
from benchmark.models.manner import put_back, said, sentence, shown
from schemas.assignments import validated
from schemas.benchmark import ImagesApiRun
from schemas.ids import stream
from schemas.records import Pixels
from tasks.engines.chat import Usage
from tasks.engines.endpoints import all_answers
from tasks.engines.images_api import painted, to_png


class ImagesApiModel:
    """A `Model` that sends each draft with its reference and instruction to one of the endpoints, with retries."""

    def __init__(self, model: str, assignments: Sequence[str], seed: int) -> None:
        """Raise SettingsError where a setting is wrong."""
        self.run = validated(ImagesApiRun, {"images_api": {"model": model}}, assignments, None)
        self.seed, self.memory = seed, _Forgetful()
        self.at_once = self.run.images_api.in_flight
        self.about: dict[str, Any] = {
            "model": f"images-api {model}",
            "how": said(self.run.manner),
            "seed": seed,
            "settings": self.run.model_dump(mode="json"),
        }

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return the drafts as a server edits them; what no server answers is a failure, no picture a refusal."""
        answers: list[Answer] = []
        for problem, one in zip(problems, all_answers([self._asked(problem) for problem in problems]), strict=True):
            answers.append(put_back(self.run.manner, problem, one) if isinstance(one, np.ndarray) else one)
        return answers

    async def _asked(self, problem: Problem) -> Pixels:
        draft, reference = shown(self.run.manner, problem)
        pngs = [to_png(draft), to_png(reference)]
        seed = int(stream(self.seed, problem.key, "benchmark").integers(2**31))
        words = sentence(self.run.manner, problem)
        return await painted(self.run.images_api, self.memory, problem.key, words, pngs, draft.shape, seed)


class _Forgetful:
    """A memory of nothing: a run keeps its outputs itself."""

    def recall(self, key: str) -> bytes | None: ...

    def keep(self, key: str, reply: bytes) -> None: ...

    def recall_picture(self, key: str) -> Pixels | None: ...

    def keep_picture(self, key: str, pixels: Pixels) -> None: ...

    def spent(self, item_id: str, usage: Usage) -> None: ...
