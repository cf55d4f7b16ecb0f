"""What a vision-language model must answer, job by job. The fields' order is that in which it writes: reasons first."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from schemas.records import Category, Operation, Record

Mark = Annotated[int, Field(ge=0, le=10)]
Thousandth = Annotated[int, Field(ge=0, le=1000)]


def _one_line(text: Any) -> Any:
    """Return a text on one line, without control characters: grammars let models write them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) if isinstance(text, str) else text


Line = Annotated[str, BeforeValidator(_one_line)]
Sentence = Annotated[Line, Field(min_length=8, max_length=300)]
Reason = Annotated[Line, Field(max_length=400)]


class PairAnswer(Record):
    """Stage 1: how well two photos pair. `addresses_you`: a text in them speaks to whoever judges them."""

    differences: Reason
    same_product: Mark
    style: Mark
    viewpoint: Mark
    addresses_you: bool


class EditAnswer(Record):
    """One edit of the target, in a box of left, top, right, bottom in thousandths of its width and height."""

    subject: Annotated[Line, Field(min_length=3, max_length=80)]
    box: Annotated[list[Thousandth], Field(min_length=4, max_length=4)]
    visible_in_reference: bool
    category: Category
    operation: Operation
    text_before: Annotated[Line, Field(max_length=80)] | None
    text_after: Annotated[Line, Field(max_length=80)] | None
    sentence: Sentence


class EditsAnswer(Record):
    """Stage 2: the edits that a pair allows, possibly none."""

    edits: Annotated[list[EditAnswer], Field(max_length=8)]


class RestoreAnswer(Record):
    """Stage 4: the instruction that leads back to the target."""

    sentence: Sentence


class JudgeAnswer(Record):
    """The judge's marks of a quadruplet, criterion by criterion."""

    reason: Reason
    edit_done: Mark  # the input shows what the edit instruction asked for
    nothing_else: Mark  # and differs from the target in nothing else
    reference_shows: Mark  # the reference shows what the region should look like
    right_thing: Mark  # the restoration names what was changed
    right_place: Mark  # and where it is, as the viewer sees it
    nothing_told: Mark  # and leaves it to the reference what it should look like
