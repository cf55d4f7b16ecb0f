"""The classical judge and writer: no language model; what was measured, worded by a grammar."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.ids import stream
from schemas.records import (
    Category,
    EditInstruction,
    EngineFailure,
    Operation,
    PairJudgement,
    Refusal,
    RestoreInstruction,
)
from tasks.engines import words
from tasks.engines.correspond import match_once
from tasks.engines.judge import judge_pair
from tasks.engines.regions import Region, propose
from tasks.engines.vlm import EditQuestion, PairQuestion, RestoreQuestion, one_by_one

# How often an operation is drawn in a category, relative to the others there
OPERATIONS: dict[Category, dict[Operation, float]] = {
    Category.TEXT: {Operation.GARBLE: 3, Operation.RETYPE: 5, Operation.SMEAR: 1.5, Operation.RESAMPLE: 1},
    Category.LOGO: {
        Operation.GARBLE: 2,
        Operation.WARP: 2,
        Operation.REBRAND: 5,
        Operation.RECOLOUR: 1.5,
        Operation.RESAMPLE: 1,
    },
    Category.PATTERN: {
        Operation.RESYNTHESISE: 2,
        Operation.WARP: 2,
        Operation.REPATTERN: 5,
        Operation.RECOLOUR: 1.5,
        Operation.SMEAR: 1.5,
    },
    Category.FACE: {Operation.WARP: 3, Operation.SMEAR: 2, Operation.RESAMPLE: 2, Operation.AUTOENCODE: 2},
    Category.OBJECT_DETAIL: {
        Operation.SMEAR: 2,
        Operation.RESYNTHESISE: 2,
        Operation.RECOLOUR: 1,
        Operation.RESAMPLE: 2,
        Operation.REPATTERN: 3,
        Operation.AUTOENCODE: 2,
    },
}
AGAIN = 0.2  # weight of an operation that this pair has had
PLAIN = 1.2  # usual gradient of L* a px: fur and weave have more, and another pattern on them looks stuck on
SURE = 0.95  # OCR confidence from which a text is quoted, and may be replaced by another


@dataclass(frozen=True)
class ClassicalWriter:
    """A `Writer` without a model of language. `operations` are those that the editor can execute."""

    seed: int = 0
    operations: frozenset[Operation] = frozenset(Operation)

    def judge_pairs(self, questions: Sequence[PairQuestion]) -> "list[PairJudgement | Refusal | EngineFailure]":
        """Judge each pair; see `tasks.engines.judge`."""
        return one_by_one(lambda question: judge_pair(question, known_same=question.known_same), questions)

    def write_edits(self, questions: Sequence[EditQuestion]) -> "list[list[EditInstruction] | Refusal | EngineFailure]":
        """Write up to `count` edits a pair, of different regions; a pair without any is refused as "no-region"."""
        return one_by_one(self._edits, questions)

    def write_restores(
        self, questions: Sequence[RestoreQuestion]
    ) -> "list[RestoreInstruction | Refusal | EngineFailure]":
        """Word each restoration; the place is where the input differs from the target."""
        return one_by_one(self._restore, questions)

    def _edits(self, question: EditQuestion) -> list[EditInstruction]:
        found = match_once(question.target, question.reference)
        regions = propose(question.target, question.reference, found)
        if not regions:
            raise Refusal(
                "no-region",
                "no region of the target is on the product, detailed and visible in the reference",
                matches=int(found.inlier.sum()),
            )
        rng = stream(self.seed, question.pair_id, "edits")
        edits: list[EditInstruction] = []
        for region in _varied(rng, regions)[: question.count]:
            operation = self._operation(rng, region, {edit.operation for edit in edits})
            if operation is not None:
                edits.append(_instruction(rng, region, operation))
        if not edits:
            raise Refusal("no-operation", "no operation at hand fits any region", regions=len(regions))
        return edits

    def _operation(self, rng: np.random.Generator, region: Region, had: set[Operation]) -> Operation | None:
        weights = {
            operation: weight * (AGAIN if operation in had else 1.0)
            for operation, weight in OPERATIONS[region.thing.category].items()
            if operation in self.operations and _fits(operation, region)
        }
        if not weights:
            return None
        shares = np.array(list(weights.values()))
        return list(weights)[int(rng.choice(len(weights), p=shares / shares.sum()))]

    def _restore(self, question: RestoreQuestion) -> RestoreInstruction:
        if not question.mask.any():
            raise Refusal("nothing-to-restore", "the input does not differ from the target")
        rng = stream(self.seed, question.quadruplet_id, "restore")
        names = words.places(words.centre_of_mask(question.mask))
        place = names[int(rng.integers(len(names)))]
        instruction = question.instruction
        return RestoreInstruction(
            sentence=words.restore_sentence(rng, instruction.category, instruction.operation, place)
        )


def _varied(rng: np.random.Generator, regions: list[Region]) -> list[Region]:
    """Return the regions in a drawn order in which a category comes again only after all others have come."""
    rounds: dict[Category, int] = {}
    keyed: list[tuple[int, int, Region]] = []
    for index in rng.permutation(len(regions)):
        region = regions[index]
        turn = rounds[region.thing.category] = rounds.get(region.thing.category, -1) + 1
        keyed.append((turn, len(keyed), region))
    return [region for _, _, region in sorted(keyed, key=lambda item: item[:2])]


def _fits(operation: Operation, region: Region) -> bool:
    """Say whether an operation can be told, and would be believed, in a region."""
    match operation:
        case Operation.RETYPE:
            return _quoted(region) is not None
        case Operation.REPATTERN if region.thing.category is Category.OBJECT_DETAIL:
            return float(region.thing.evidence["usual_detail"]) <= PLAIN
        case _:
            return True


def _quoted(region: Region) -> str | None:
    """Return the text of a region if it is one line that was surely read, in signs that can be typed again."""
    thing = region.thing
    if thing.text is None or not thing.text.isascii():
        return None
    return thing.text if thing.evidence["lines"] == 1 and thing.evidence["ocr_confidence"] >= SURE else None


def _instruction(rng: np.random.Generator, region: Region, operation: Operation) -> EditInstruction:
    thing = region.thing
    names = words.places(words.centre_of(thing.polygon))
    place = names[int(rng.integers(len(names)))]
    text = _quoted(region)
    subject = words.subject(rng, thing.category, thing.noun, thing.colour, text)
    text_after = words.another_text(rng, text) if operation is Operation.RETYPE and text is not None else None
    return EditInstruction(
        task=operation.task,
        category=thing.category,
        operation=operation,
        region=thing.polygon,
        sentence=words.edit_sentence(rng, operation, subject, place, text_after),
        subject=subject,
        place=place,
        text_before=text,
        text_after=text_after,
        evidence={
            "visible_share": round(region.visible, 3),
            "matches_within": region.matches,
            "reference_region": region.reference_polygon,
            **thing.evidence,
        },
    )
