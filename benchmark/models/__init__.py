"""Models that a benchmark is run with, behind one small protocol; each sees problems, never their ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmark.cases import Problem
from schemas.errors import SettingsError
from schemas.records import EngineFailure, Pixels, Refusal

Answer = Pixels | Refusal | EngineFailure  # a picture of the input's size; a refusal is final, a failure is asked again


class Model(Protocol):
    """Something that mends drafts, so many at once.

    `about` says what it is and how it was asked: it goes into the run's record, and `about["model"]` is its name.
    """

    @property
    def about(self) -> Mapping[str, Any]: ...

    @property
    def at_once(self) -> int: ...

    def answer(self, problems: Sequence[Problem]) -> list[Answer]: ...


@dataclass(frozen=True)
class Identity:
    """Leaves every draft as it is: what any model must surpass."""

    about: Mapping[str, Any]
    at_once: int = 8

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return the inputs."""
        return [problem.input for problem in problems]


KINDS = {
    "identity": "leaves the draft as it is",
    "paste": "the reference, warped into the mask: no learning",
    "blind": "Real-ESRGAN, which sees no reference",
    "refiner": "refiner:CHECKPOINT, a folder that `omnirefiner train` wrote",
    "pipeline": "pipeline:MODEL, an editing pipeline of diffusers, by folder or by its name on the hub",
    "images-api": "images-api:MODEL, behind any server of the images API",
    "folder": "folder:PATH, somebody's own outputs",
}
WHERE = ("refiner", "pipeline", "images-api", "folder")  # which need to be told


def open_model(told: str, assignments: Sequence[str] = (), *, seed: int = 0) -> Model:
    """Return a model by what is typed: KIND or KIND:WHERE. `assignments` are settings of that kind.

    Raises SettingsError where there is no such model, or it cannot be had; WeightsError for a wrong checkpoint.
    """
    kind, _, where = told.partition(":")
    if kind not in KINDS:
        known = "; ".join(f"{name} ({what})" for name, what in KINDS.items())
        raise SettingsError(f"--model {told}: no such model; there are: {known}")
    if (kind in WHERE) != bool(where):
        raise SettingsError(f"--model {told}: it is {KINDS[kind]}; write it so")
    if assignments and kind not in ("refiner", "pipeline", "images-api"):
        raise SettingsError(f"--set {assignments[0]}: {kind} has no settings; leave it out")
    match kind:
        case "identity":
            return Identity({"model": "identity", "how": "whole"})
        case "paste":
            from benchmark.models.paste import Paste

            return Paste()
        case "blind":
            from benchmark.models.blind import Blind

            return Blind()
        case "refiner":
            from benchmark.models.refiner import Refiner

            return Refiner(Path(where), assignments, seed)
        case "pipeline":
            from benchmark.models.pipeline import Pipeline

            return Pipeline(where, assignments, seed)
        case "images-api":
            from benchmark.models.images_api import ImagesApiModel

            return ImagesApiModel(where, assignments, seed)
        case _:
            from benchmark.submission import Folder

            return Folder(Path(where))
