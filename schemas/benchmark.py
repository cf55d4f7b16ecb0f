"""One typed model of how a benchmark is chosen; `--set section.key=value` goes on top of these defaults."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from schemas.assignments import validated
from schemas.records import Category, Operation, Record, Task, Unit
from schemas.settings import Diffusers, ImagesApi


class Marginal(Record):
    """A figure of a sample, cut into bins, each of which has a least share of the whole benchmark."""

    edges: tuple[float, ...]
    least: Unit = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(one >= other for one, other in pairwise(self.edges)):
            raise ValueError("edges must rise")
        if self.least * (len(self.edges) + 1) > 1:
            raise ValueError(f"{len(self.edges) + 1} bins of at least {self.least:.0%} each are more than there is")
        return self


class MaskArea(Marginal):
    """Of the image, 0..1."""

    edges: tuple[float, ...] = (0.016, 0.03)


class Damage(Marginal):
    """PSNR within the mask, dB: the lower, the farther the damage goes."""

    edges: tuple[float, ...] = (17.0, 23.0)


class View(Marginal):
    """How far the reference's view lies off, in clear changes of view, as the classical judge measures it."""

    edges: tuple[float, ...] = (0.6, 1.2)


def stratum(category: str, task: str) -> str:
    """Return what a stratum is called.

    >>> stratum("object detail", "ref-fix")
    'object detail, ref-fix'
    """
    return f"{category}, {task}"


STRATA = tuple(stratum(category, task) for category in Category for task in Task)

# What the procedural editor can replace is a text, a logo or a pattern.
REPLACED = {Operation.RETYPE: Category.TEXT, Operation.REBRAND: Category.LOGO, Operation.REPATTERN: Category.PATTERN}
SHARES = {stratum(category, Task.REF_FIX): 1.0 for category in Category} | {
    stratum(category, Task.REF_REPLACE): 1.0 for category in REPLACED.values()
}


class Selection(Record):
    """Which samples of the reserve make a benchmark."""

    seed: int = 0
    shares: dict[str, Annotated[float, Field(ge=0)]] = SHARES  # of strata "CATEGORY, TASK", relative to each other
    mask_area: MaskArea = MaskArea()
    damage: Damage = Damage()
    view: View = View()
    per_product: Annotated[int, Field(ge=1)] = 12
    per_cluster: Annotated[int, Field(ge=1)] = 4  # of a target photo, or of all photos that are one picture

    @field_validator("shares")
    @classmethod
    def _known(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(shares) - set(STRATA))
        if unknown:
            raise ValueError(f"no stratum is called {unknown[0]!r}; there are: {'; '.join(STRATA)}")
        if not any(shares.values()):
            raise ValueError("no stratum has a share")
        return shares


class Weights(Record):
    """Weights that some metrics need; without them those are not computed."""

    lpips: Path | None = None  # AlexNet's weights, as torchvision publishes them
    clip: Path | None = None  # the folder of a CLIP model
    dino: Path | None = None  # of a DINO model
    dreamsim: Path | None = None  # of what the package `dreamsim` downloads


class Manner(Record):
    """How an editor that paints whole pictures is asked."""

    crop: bool = True  # round the mask, or all of the draft
    size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] = 512  # px: a crop holds about size x size
    margin: Annotated[float, Field(ge=0, le=4)] = 0.5  # about the mask, of its longer side
    paste: bool = True  # within the mask alone, or all that was painted
    prompt: str = "{instruction} The second picture is a photo of the same product as it really is."


class PipelineRun(Record):
    """An editing pipeline of diffusers as a refiner, shown draft and reference."""

    manner: Manner = Manner()
    diffusers: Diffusers = Diffusers()


class ImagesApiRun(Record):
    """A model behind the images API as a refiner: draft and reference are sent, in this order."""

    manner: Manner = Manner()
    images_api: ImagesApi = ImagesApi()


class Benchmark(Record):
    """All settings of `omnirefiner benchmark`. Frozen, and validated before any work."""

    select: Selection = Selection()
    weights: Weights = Weights()


def load_benchmark(assignments: Sequence[str] = ()) -> Benchmark:
    """Return the defaults with `key=value`s on top. Raises SettingsError naming the wrong key or value."""
    return validated(Benchmark, {}, assignments, None)
