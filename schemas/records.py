"""What the stages say to each other: photos, judgements, instructions, and the two ways of not answering."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255
Mask = NDArray[np.bool_]  # (H, W), True where something changed or is meant

Unit = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Unit, Unit]  # (x, y) relative to width and height, origin top left
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=64)]


class Record(BaseModel):
    """A frozen record that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(StrEnum):
    """What the judge scores a pair by, each 0..1."""

    SAME_PRODUCT = "same_product"
    STYLE = "style"
    VIEWPOINT = "viewpoint"


class Task(StrEnum):
    """What the refiner is asked to do: mend the right thing, or put the right thing in another's place."""

    REF_FIX = "ref-fix"
    REF_REPLACE = "ref-replace"


class Category(StrEnum):
    """What kind of content an edit touches: the five of the paper's benchmark."""

    TEXT = "text"
    LOGO = "logo"
    PATTERN = "pattern"
    FACE = "face"
    OBJECT_DETAIL = "object detail"


class Operation(StrEnum):
    """What is done to the region; the first seven are ref-fix, the last three ref-replace."""

    GARBLE = "garble"  # glyphs or strokes broken, doubled, swapped
    SMEAR = "smear"  # detail dragged and melted together
    RESYNTHESISE = "resynthesise"  # texture made anew from its own statistics
    WARP = "warp"  # geometry bent
    RECOLOUR = "recolour"  # hue, saturation or lightness shifted
    RESAMPLE = "resample"  # detail lost by going down and up in size
    AUTOENCODE = "autoencode"  # detail lost by a round trip through an image autoencoder
    RETYPE = "retype"  # another text in the place of the text
    REBRAND = "rebrand"  # another logo in the place of the logo
    REPATTERN = "repattern"  # another pattern in the place of the pattern

    @property
    def task(self) -> Task:
        """Return the task that mending this operation belongs to."""
        replaces = (Operation.RETYPE, Operation.REBRAND, Operation.REPATTERN)
        return Task.REF_REPLACE if self in replaces else Task.REF_FIX


@dataclass(frozen=True)
class Photo:
    """A photo as engines see it: its source's digest and its pixels, upright, sRGB, in its aspect bucket."""

    image_id: str
    pixels: Pixels


class PairJudgement(Record):
    """How well two photos pair: same product, consistent style, reasonable viewpoints (the paper, figure 3)."""

    same_product: Unit
    style: Unit
    viewpoint: Unit
    reason: str
    evidence: dict[str, Any] = Field(default_factory=dict)


class EditInstruction(Record):
    """One fine-grained edit of the target photo, within a region that the reference shows.

    `subject` names the thing ("the word 'NOVA'", "the logo on the front"); `place` says where it is as the
    viewer sees it ("at the upper left"). `text_before` is what surely reads there, `text_after` what a retyping puts
    there.
    """

    task: Task
    category: Category
    operation: Operation
    region: Polygon
    sentence: str
    subject: str
    place: str
    text_before: str | None = None
    text_after: str | None = None
    evidence: dict[str, Any] = Field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return what an editor acts on: everything but the evidence."""
        return self.model_dump(mode="json", exclude={"evidence"})


class RestoreInstruction(Record):
    """The instruction that gets the target back from the input and the reference."""

    sentence: str


class Verdict(Record):
    """What the judge says of a quadruplet: marks (0..1) by criterion, and what speaks for them.

    `rewritten` is the restoration that was written anew after a first verdict; `marks` are then those of the second.
    """

    marks: dict[str, Unit]
    reason: str
    rewritten: str | None = None

    @property
    def score(self) -> float:
        """Return the least mark: a sample is as good as its worst side."""
        return min(self.marks.values())


class Refusal(Exception):
    """An item that was looked at and turned down: final under its fingerprint.

    `reason` is a short slug to count by ("nothing-in-common"), `detail` one line for a person, `evidence` figures.
    """

    def __init__(self, reason: str, detail: str, **evidence: Any) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.evidence = evidence


class EngineFailure(Exception):
    """An engine that could not answer (a server down, memory spent): counted, and asked again by the next run."""
