"""The stages' questions to a real vLLM: eight at once, and every answer a record, or a refusal that says what was said.

The model's weights are random, so its answers are nonsense in the right form, and some run on until they are cut.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.records import (
    Category,
    EditInstruction,
    EngineFailure,
    Operation,
    PairJudgement,
    Photo,
    Refusal,
    RestoreInstruction,
    Verdict,
)
from tasks.engines.vllm import VlmJudge, VlmWriter
from tasks.engines.vlm import EditQuestion, JudgeQuestion, PairQuestion, RestoreQuestion
from tests.live.conftest import AT_ONCE, Tiny
from tests.tasks.engines.chat_server import Nothing

INSTRUCTION = EditInstruction(
    task=Operation.SMEAR.task, category=Category.OBJECT_DETAIL, operation=Operation.SMEAR, subject="the strap",
    region=((0.3, 0.3), (0.5, 0.3), (0.5, 0.5)), sentence="Smear the strap on the left.", place="on the left",
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(rendered: Path) -> Sequence[Photo]:
    """Real photos where they are at hand, else rendered ones: as many as are asked about at once, and one more."""
    real = Path(__file__).parents[2] / ".." / "shared" / "data" / "products"
    files = sorted((real if real.is_dir() else rendered).glob("*/*.jpg"))[: AT_ONCE + 1]
    return [
        Photo(f"{file.parent.name}/{file.name}", np.asarray(Image.open(file).convert("RGB").resize((256, 256))))
        for file in files
    ]


def records(outcomes: Sequence[object], kind: type) -> list[object]:
    """Return the answers that are records; all others must be refusals, with what was said as evidence."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, EngineFailure)]
    assert failures == []
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            assert outcome.reason in ("broken-answer", "no-region", "addresses-the-judge")
            assert outcome.evidence
        else:
            assert isinstance(outcome, kind)
    return [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]


def test_pairs_are_judged(served: Tiny, photos: Sequence[Photo]) -> None:
    memory = Nothing()
    questions = [PairQuestion(f"pair {n}", photos[n], photos[n + 1]) for n in range(AT_ONCE)]
    outcomes = VlmWriter(served.vlm, memory).judge_pairs(questions)
    assert len(outcomes) == AT_ONCE
    records(outcomes, PairJudgement)
    assert all(usage.tokens_in > 1000 and usage.tokens_out > 0 for usage in memory.usage.values())
    assert len(memory.usage) == AT_ONCE


def test_edits_and_restorations_are_written_and_judged(served: Tiny, photos: Sequence[Photo]) -> None:
    writer = VlmWriter(served.vlm, Nothing())
    edits = writer.write_edits([EditQuestion(f"pair {n}", photos[n], photos[n + 1], 2) for n in range(AT_ONCE)])
    records(edits, list)

    mask = np.zeros((256, 256), bool)
    mask[80:120, 80:130] = True
    restores = writer.write_restores([
        RestoreQuestion(str(n), photos[n].pixels // 2, photos[n + 1], photos[n], mask, INSTRUCTION)
        for n in range(AT_ONCE)
    ])  # fmt: skip
    assert len(records(restores, RestoreInstruction)) >= 1

    judge = VlmJudge(served.vlm, Nothing(), rewrite_below=0.7)
    verdicts = judge.judge_quadruplets([
        JudgeQuestion(str(n), photos[n].pixels // 2, photos[n + 1], photos[n], mask, INSTRUCTION, "Mend the strap.")
        for n in range(AT_ONCE)
    ])  # fmt: skip
    assert len(records(verdicts, Verdict)) >= 1
