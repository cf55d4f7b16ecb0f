"""The judge and writer behind vLLM, or any server of OpenAI's protocol: prompts out, records in.

The prompts are the text files of schemas/prompts, one a job; what a model must answer is in schemas/answers.py.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from string import Template
from typing import Any, TypeVar

import cv2
import numpy as np

from schemas.answers import EditAnswer, EditsAnswer, JudgeAnswer, PairAnswer, RestoreAnswer
from schemas.ids import digest, stream
from schemas.records import (
    Category,
    EditInstruction,
    EngineFailure,
    Mask,
    Operation,
    PairJudgement,
    Photo,
    Pixels,
    Polygon,
    Record,
    Refusal,
    RestoreInstruction,
    Verdict,
)
from schemas.settings import Vlm
from tasks.engines import words
from tasks.engines.addressed import addressed
from tasks.engines.chat import Memory, Part, Picture, ask, picture
from tasks.engines.endpoints import all_answers
from tasks.engines.ocr import text_about_once, text_once
from tasks.engines.once import once_a_photo
from tasks.engines.vlm import EditQuestion, JudgeQuestion, PairQuestion, RestoreQuestion, one_by_one

Question = TypeVar("Question")
Answer = TypeVar("Answer")

PROMPTS = Path(__file__).parents[2] / "schemas" / "prompts"
SMALLEST, LARGEST = 0.01, 0.30  # of the photo's area, that a region may cover
CLOSE = 2.0  # sides of the mask's box that a close-up shows
ANSWERS: dict[str, type[Record]] = {
    "pair": PairAnswer, "instruct": EditsAnswer, "restore": RestoreAnswer, "judge": JudgeAnswer,
    "rewrite": RestoreAnswer,
}  # fmt: skip
TOLD = ("right_thing", "right_place", "nothing_told")  # the criteria that another wording can mend

ONLY = {Operation.RETYPE: Category.TEXT, Operation.REBRAND: Category.LOGO}
WHAT_IT_DOES = {
    Operation.GARBLE: "letters or strokes become broken, doubled or meaningless, as image generators write",
    Operation.SMEAR: "fine detail melts together or is dragged",
    Operation.RESYNTHESISE: "a texture is made anew, similar but not the same",
    Operation.WARP: "the shape is bent, squeezed or out of proportion",
    Operation.RECOLOUR: "the part has another colour",
    Operation.RESAMPLE: "the part is blurred, as if seen at a lower resolution",
    Operation.AUTOENCODE: "fine detail is slightly lost, as by strong compression",
    Operation.RETYPE: "another text stands in the place of the text (category text only)",
    Operation.REBRAND: "another emblem stands in the place of the emblem (category logo only)",
    Operation.REPATTERN: "another pattern covers the part",
}


@cache
def prompt(job: str) -> str:
    """Return the prompt of a job (pair, instruct, restore, judge, rewrite), its $places unfilled.

    It is read once a process: what is asked is what the fingerprint says.
    """
    return (PROMPTS / f"{job}.txt").read_text(encoding="utf-8")


def prompt_digest(*jobs: str) -> str:
    """Return the digest of what decides the answers to these jobs: their prompts, and the records they must fill."""
    return digest("prompt", [[prompt(job), ANSWERS[job].model_json_schema()] for job in jobs])


@dataclass(frozen=True)
class VlmWriter:
    """A `Writer` that asks a vision-language model; `operations` are those that the editor can execute."""

    vlm: Vlm
    memory: Memory
    seed: int = 0
    operations: frozenset[Operation] = frozenset(Operation)

    def judge_pairs(self, questions: Sequence[PairQuestion]) -> "list[PairJudgement | Refusal | EngineFailure]":
        """Judge each pair; one with a text that addresses the judge is refused as "addresses-the-judge", unasked."""
        return _answers(self._pair_parts, self._pair, questions)

    def write_edits(self, questions: Sequence[EditQuestion]) -> "list[list[EditInstruction] | Refusal | EngineFailure]":
        """Write up to `count` edits a pair; a pair without any that holds to the rules is refused as "no-region"."""
        return _answers(self._edits_parts, self._edits, questions)

    def write_restores(
        self, questions: Sequence[RestoreQuestion]
    ) -> "list[RestoreInstruction | Refusal | EngineFailure]":
        """Write each restoration."""
        return _answers(self._restore_parts, self._restore, questions)

    def _pair_parts(self, question: PairQuestion) -> list[Part]:
        said = speaks(question.target) or speaks(question.reference)
        if said is not None:
            detail = "a text in one of the photos addresses whoever judges it"
            raise Refusal("addresses-the-judge", detail, read=said)
        known = "\n\nThe catalogue says that both show the same product: judge style and viewpoint with care."
        asked = Template(prompt("pair")).substitute(known=known if question.known_same else "")
        return [asked, "TARGET:", _seen(self.vlm, question.target), "REFERENCE:", _seen(self.vlm, question.reference)]

    async def _pair(self, question: PairQuestion, parts: Sequence[Part]) -> PairJudgement:
        answer = await ask(
            self.vlm,
            parts,
            PairAnswer,
            item_id=question.pair_id,
            seed=_seed(self.seed, question.pair_id, "pair"),
            memory=self.memory,
        )
        marks = {"same_product": answer.same_product, "style": answer.style, "viewpoint": answer.viewpoint}
        if answer.addresses_you:
            detail = "a text in one of the photos addresses whoever judges it, says the judge"
            raise Refusal("addresses-the-judge", detail, **marks, differences=answer.differences)
        return PairJudgement(
            same_product=1.0 if question.known_same else answer.same_product / 10,
            style=answer.style / 10,
            viewpoint=answer.viewpoint / 10,
            reason=answer.differences,
            evidence=marks,
        )

    def _edits_parts(self, question: EditQuestion) -> list[Part]:
        told = "\n".join(f"- {operation.value}: {WHAT_IT_DOES[operation]}." for operation in self._able())
        asked = Template(prompt("instruct")).substitute(count=question.count, operations=told)
        return [asked, "TARGET:", _seen(self.vlm, question.target), "REFERENCE:", _seen(self.vlm, question.reference)]

    async def _edits(self, question: EditQuestion, parts: Sequence[Part]) -> list[EditInstruction]:
        answer = await ask(
            self.vlm,
            parts,
            EditsAnswer,
            item_id=question.pair_id,
            seed=_seed(self.seed, question.pair_id, "instruct"),
            memory=self.memory,
        )
        faults = [_fault(edit, self._able()) for edit in answer.edits]
        sound = {edit.sentence: edit for edit, fault in zip(answer.edits, faults, strict=True) if fault is None}
        if not sound:
            found = [fault for fault in faults if fault]
            raise Refusal(
                "no-region", "no edit that it proposed holds to the rules", proposed=len(faults), faults=found
            )
        return [_instruction(edit) for edit in list(sound.values())[: question.count]]

    def _able(self) -> list[Operation]:
        return [operation for operation in Operation if operation in self.operations]

    def _restore_parts(self, question: RestoreQuestion) -> list[Part]:
        if not question.mask.any():
            raise Refusal("nothing-to-restore", "the input does not differ from the target")
        asked = Template(prompt("restore")).substitute(
            edit=question.instruction.sentence, place=words.places(words.centre_of_mask(question.mask))[0]
        )
        return [asked, *_shown(self.vlm, question)]

    async def _restore(self, question: RestoreQuestion, parts: Sequence[Part]) -> RestoreInstruction:
        answer = await ask(
            self.vlm,
            parts,
            RestoreAnswer,
            item_id=question.quadruplet_id,
            seed=_seed(self.seed, question.quadruplet_id, "restore"),
            memory=self.memory,
        )
        return RestoreInstruction(sentence=answer.sentence)


def speaks(photo: Photo) -> str | None:
    """Return the words by which a text in a photo, on its product or beside it, addresses a judge; None without any."""
    return addressed(text_about_once(photo)) or addressed(text_once(photo))


@dataclass(frozen=True)
class VlmJudge:
    """A `Judge` that asks a vision-language model.

    Where what was done is good and only the words are not, it writes them once more and judges again.
    """

    vlm: Vlm
    memory: Memory
    rewrite_below: float
    seed: int = 0

    def judge_quadruplets(self, questions: Sequence[JudgeQuestion]) -> "list[Verdict | Refusal | EngineFailure]":
        """Judge each quadruplet; words whose marks are less than `rewrite_below` are written anew."""
        return _answers(partial(_shown, self.vlm), self._verdict, questions)

    async def _verdict(self, question: JudgeQuestion, shown: Sequence[Part]) -> Verdict:
        first = await self._marks(question, shown, question.restoration, "judge")
        unsound = [name for name, mark in first.marks.items() if mark < self.rewrite_below]
        if not unsound or not set(unsound) <= set(TOLD):
            return first
        written = await ask(
            self.vlm,
            [self._filled("rewrite", question, question.restoration, critique=first.reason), *shown],
            RestoreAnswer,
            item_id=question.quadruplet_id,
            seed=_seed(self.seed, question.quadruplet_id, "rewrite"),
            memory=self.memory,
        )
        second = await self._marks(question, shown, written.sentence, "judge again")
        return second.model_copy(update={"rewritten": written.sentence}) if second.score > first.score else first

    async def _marks(self, question: JudgeQuestion, shown: Sequence[Part], restoration: str, job: str) -> Verdict:
        answer = await ask(
            self.vlm,
            [self._filled("judge", question, restoration), *shown],
            JudgeAnswer,
            item_id=question.quadruplet_id,
            seed=_seed(self.seed, question.quadruplet_id, job),
            memory=self.memory,
        )
        marks = answer.model_dump(exclude={"reason"})
        return Verdict(marks={name: mark / 10 for name, mark in marks.items()}, reason=answer.reason)

    def _filled(self, job: str, question: JudgeQuestion, restoration: str, **more: str) -> str:
        place = words.places(words.centre_of_mask(question.mask))[0]
        return Template(prompt(job)).substitute(
            edit=question.instruction.sentence, place=place, restore=restoration, **more
        )


def _answers(
    made: Callable[[Question], list[Part]],
    asked: Callable[[Question, Sequence[Part]], Coroutine[Any, Any, Answer]],
    questions: Sequence[Question],
) -> "list[Answer | Refusal | EngineFailure]":
    """Make what each question sends, here, in the worker's thread; then ask all at once: the event loop only sends."""
    parts = one_by_one(made, questions)
    sent = [
        asked(question, own) for question, own in zip(questions, parts, strict=True) if not isinstance(own, Exception)
    ]
    answers = iter(all_answers(sent))
    return [own if isinstance(own, Exception) else next(answers) for own in parts]


def _shown(vlm: Vlm, question: RestoreQuestion | JudgeQuestion) -> list[Part]:
    return [
        *("TARGET:", _seen(vlm, question.target)),
        *("INPUT:", picture(question.input, vlm.image_side)),
        *("REFERENCE:", _seen(vlm, question.reference)),
        *("CLOSE-UPS:", _close_ups(vlm, question.target.pixels, question.input, question.mask)),
    ]


def _fault(edit: EditAnswer, able: Sequence[Operation]) -> str | None:
    """Return which rule a proposed edit breaks, as far as that can be told without looking."""
    left, top, right, bottom = (side / 1000 for side in edit.box)
    area = max(0.0, right - left) * max(0.0, bottom - top)
    if not edit.visible_in_reference:
        return "the reference does not show it"
    if not SMALLEST <= area <= LARGEST:
        return f"its box covers {area:.1%} of the picture"
    if edit.operation not in able:
        return f"the editor knows no {edit.operation.value}"
    if edit.operation in ONLY and edit.category is not ONLY[edit.operation]:
        return f"{edit.operation.value} is for the category {ONLY[edit.operation].value}"
    if edit.operation is Operation.RETYPE and not (edit.text_before and edit.text_after):
        return "a retyping names the text before and after"
    if "reference" in edit.sentence.casefold():
        return "the sentence tells of the reference"
    return None


def _instruction(edit: EditAnswer) -> EditInstruction:
    left, top, right, bottom = (side / 1000 for side in edit.box)
    region: Polygon = ((left, top), (right, top), (right, bottom), (left, bottom))
    return EditInstruction(
        task=edit.operation.task,
        category=edit.category,
        operation=edit.operation,
        region=region,
        sentence=edit.sentence,
        subject=edit.subject,
        place=words.places(words.centre_of(region))[0],
        text_before=edit.text_before,
        text_after=edit.text_after if edit.operation is Operation.RETYPE else None,
    )


@cache
def _sender(side: int) -> Callable[[Photo], Picture]:
    """Return what encodes a photo for a model that is sent pictures of this size, once a photo."""
    return once_a_photo(lambda photo: picture(photo.pixels, side))


def _seen(vlm: Vlm, photo: Photo) -> Picture:
    return _sender(vlm.image_side)(photo)


def _close_ups(vlm: Vlm, target: Pixels, input: Pixels, mask: Mask) -> Picture:
    """Return the place that a mask covers, and as much about it, in target and input side by side."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    half = CLOSE / 2 * max(int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, 32)
    middle_y, middle_x = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    top, left = max(0, round(middle_y - half)), max(0, round(middle_x - half))
    bottom, right = min(height, round(middle_y + half) + 1), min(width, round(middle_x + half) + 1)
    both = np.concatenate([side[top:bottom, left:right] for side in (target, input)], axis=1)
    scale = vlm.image_side / max(both.shape[:2])
    if scale > 1:
        both = np.asarray(cv2.resize(both, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    return picture(both, vlm.image_side)


def _seed(seed: int, item_id: str, job: str) -> int:
    return int(stream(seed, item_id, job).integers(2**31))
