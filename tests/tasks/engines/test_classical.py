import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from schemas.records import Category, EditInstruction, Operation, Photo, Refusal, RestoreInstruction, Task
from tasks.engines import words
from tasks.engines.classical import PLAIN, ClassicalWriter
from tasks.engines.vlm import EditQuestion, RestoreQuestion
from tests.tasks.engines.rendered import NUMBERS, photographed
from tests.tasks.engines.scenes import placed, texture, turned

COLOURS = "black|white|gr[ae]y|beige|brown|pink|red|orange|yellow|green|teal|blue|purple"


def asked(number: int, count: int = 4, pair_id: str = "pair") -> EditQuestion:
    return EditQuestion(f"{pair_id}/{number}", photographed(number, 0), photographed(number, 1), count)


def edits_of(writer: ClassicalWriter, question: EditQuestion) -> list[EditInstruction]:
    (outcome,) = writer.write_edits([question])
    assert isinstance(outcome, list), outcome
    return outcome


@cache
def all_edits(seed: int = 0) -> list[EditInstruction]:
    return [edit for number in NUMBERS for edit in edits_of(ClassicalWriter(seed=seed), asked(number))]


def restored(edit: EditInstruction, mask: np.ndarray, quadruplet_id: str = "quadruplet") -> RestoreInstruction | object:
    photo = photographed(0, 0)
    question = RestoreQuestion(quadruplet_id, photo.pixels, photographed(0, 1), photo, mask, edit)
    (outcome,) = ClassicalWriter().write_restores([question])
    return outcome


def test_the_same_question_has_the_same_answer_on_any_thread() -> None:
    questions = [asked(number) for number in NUMBERS[:3]]
    once = ClassicalWriter(seed=3).write_edits(questions)
    with ThreadPoolExecutor(3) as threads:
        again = list(threads.map(lambda question: edits_of(ClassicalWriter(seed=3), question), reversed(questions)))
    assert once == again[::-1]


def test_another_seed_or_pair_has_other_edits() -> None:
    base = edits_of(ClassicalWriter(seed=1), asked(0))
    assert base != edits_of(ClassicalWriter(seed=2), asked(0))
    assert base != edits_of(ClassicalWriter(seed=1), asked(0, pair_id="other"))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_edits_than_asked_for_each_of_its_own_region(count: int) -> None:
    for number in NUMBERS[:3]:
        edits = edits_of(ClassicalWriter(), asked(number, count))
        assert 1 <= len(edits) <= count
        assert len({edit.region for edit in edits}) == len(edits)


def test_only_operations_at_hand_are_asked_for() -> None:
    few = frozenset({Operation.SMEAR, Operation.RECOLOUR, Operation.GARBLE, Operation.WARP})
    edits = [edit for number in NUMBERS[:3] for edit in edits_of(ClassicalWriter(operations=few), asked(number))]
    assert {edit.operation for edit in edits} <= few


def test_no_operation_that_fits_is_a_refusal() -> None:
    (outcome,) = ClassicalWriter(operations=frozenset()).write_edits([asked(0)])
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "no-operation"


def test_photos_that_share_nothing_are_refused() -> None:
    one = Photo("shares-nothing/1", placed(texture(1), turned(0, 0.7)))
    other = Photo("shares-nothing/2", placed(texture(2), turned(20, 0.6), ground=60))
    (outcome,) = ClassicalWriter().write_edits([EditQuestion("pair", one, other, 3)])
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "no-region"


def test_both_tasks_occur_and_are_the_operations() -> None:
    edits = [edit for seed in range(3) for edit in all_edits(seed)]
    assert {edit.task for edit in edits} == set(Task)
    assert all(edit.task is edit.operation.task for edit in edits)


def test_a_retyping_says_both_texts_and_nothing_else_says_a_new_one() -> None:
    edits = [edit for seed in range(3) for edit in all_edits(seed)]
    retyped = [edit for edit in edits if edit.operation is Operation.RETYPE]
    assert retyped
    for edit in edits:
        assert (edit.text_after is not None) == (edit.operation is Operation.RETYPE)
    for edit in retyped:
        assert edit.text_before is not None
        assert edit.text_after is not None
        assert len(edit.text_after) == len(edit.text_before)
        assert f"'{edit.text_before}'" in edit.sentence
        assert f"'{edit.text_after}'" in edit.sentence


def test_places_are_where_the_regions_are() -> None:
    for edit in all_edits():
        assert edit.place in words.places(words.centre_of(edit.region))
        assert edit.place.lower() in edit.sentence.lower()


def test_edits_keep_their_evidence() -> None:
    for edit in all_edits():
        assert edit.evidence["visible_share"] >= 0.6
        assert edit.evidence["matches_within"] >= 0


def test_a_restoration_tells_no_text_and_no_colour() -> None:
    mask = np.zeros(photographed(0, 0).pixels.shape[:2], dtype=np.bool_)
    mask[10:60, 10:60] = True
    for number, edit in enumerate(edit for seed in range(2) for edit in all_edits(seed)):
        outcome = restored(edit, mask, str(number))
        assert isinstance(outcome, RestoreInstruction)
        said = outcome.sentence.lower()
        assert not any(text is not None and text.lower() in said for text in (edit.text_before, edit.text_after))
        assert not re.search(rf"\d|\b({COLOURS})\b", said), said
        assert str(edit.operation) not in said
        assert any(place in said for place in words.places((0.07, 0.07)))


def test_where_nothing_changed_there_is_nothing_to_restore() -> None:
    (edit,) = edits_of(ClassicalWriter(), asked(0, 1))
    outcome = restored(edit, np.zeros((8, 8), dtype=np.bool_))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "nothing-to-restore"


def test_no_pattern_is_laid_on_fur_or_weave() -> None:
    details = [
        (edit.operation, edit.evidence["usual_detail"])
        for seed in range(4)
        for edit in all_edits(seed)
        if edit.category is Category.OBJECT_DETAIL
    ]
    assert any(detail > PLAIN for _, detail in details)
    assert all(detail <= PLAIN for operation, detail in details if operation is Operation.REPATTERN)


def test_a_text_is_quoted_only_where_it_surely_reads_so() -> None:
    for edit in all_edits():
        if edit.text_before is not None:
            assert edit.evidence["lines"] == 1
            assert edit.evidence["ocr_confidence"] >= 0.95
            assert f"'{edit.text_before}'" in edit.sentence
