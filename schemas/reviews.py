"""What a person says of a pair, an edit or a sample: keep it or drop it, and for which reason."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from schemas.records import Record


class Kind(StrEnum):
    """What is looked at, one at a time."""

    PAIR = "pair"
    EDIT = "edit"
    SAMPLE = "sample"


class Said(StrEnum):
    """A verdict; one that is undone counts no more."""

    KEEP = "keep"
    DROP = "drop"
    UNDONE = "undone"


REASONS: Mapping[Kind, tuple[str, ...]] = {  # for a drop; the keys 1 to 9 choose them
    Kind.PAIR: ("another-product", "style", "viewpoint", "duplicate", "unsafe"),
    Kind.EDIT: ("unchanged", "not-as-asked", "outside", "seam", "unnatural", "unsafe"),
    Kind.SAMPLE: ("words-wrong", "side-wrong", "tells-too-much", "not-visible", "another-product", "unchanged",
                  "unnatural", "duplicate", "unsafe"),
}  # fmt: skip

# No control characters: names and notes are printed, and shown to others.
Name = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,60}$")]
Note = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=500)]


class Review(Record):
    """What one reviewer says of one item as it was shown.

    `shown` is what the item's id does not say: of an edit the digest of its picture, of a sample the words that lead
    back. A verdict holds for just that.
    """

    kind: Kind
    item_id: Annotated[str, Field(min_length=1)]
    shown: str | None
    reviewer: Name
    verdict: Said
    reason: str | None = None
    note: Note = ""

    @model_validator(mode="after")
    def _has_its_reason(self) -> Self:
        if self.verdict is not Said.DROP and self.reason is not None:
            raise ValueError("only a drop has a reason")
        if self.verdict is Said.DROP and self.reason not in REASONS[self.kind]:
            raise ValueError(f"a dropped {self.kind} has one of the reasons {', '.join(REASONS[self.kind])}")
        return self
