"""After stage 4: the judge marks each quadruplet, and writes its restoration anew where only the words are wrong."""

from collections.abc import Iterator, Sequence

from schemas.ids import digest
from schemas.records import EditInstruction
from schemas.settings import Settings
from tasks.codecs import load_mask, load_photo, load_sides
from tasks.engines.load import load_judge
from tasks.engines.vlm import JudgeQuestion
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered, to_json
from tasks.requests import Requests

VERSION = 1


def judge(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Judge quadruplets (rows of the view `restored`, with restoration), one row each. The catalogue cuts."""
    requests = Requests(lake)
    questions = [
        JudgeQuestion(
            quadruplet_id=item["quadruplet_id"],
            input=load_photo(lake, item["input_sha256"]),
            reference=reference,
            target=target,
            mask=load_mask(lake, item["mask_sha256"]),
            instruction=EditInstruction.model_validate_json(item["instruction"]),
            restoration=item["restoration"],
        )
        for item, (target, reference) in zip(items, load_sides(lake, items), strict=True)
    ]
    verdicts = load_judge(settings, requests).judge_quadruplets(questions)
    for item, outcome in zip(items, verdicts, strict=True):
        facts = {
            "quadruplet_id": item["quadruplet_id"],
            "restoration": item["restoration"],
            **requests.columns(item["quadruplet_id"]),
        }
        if isinstance(outcome, Exception):
            yield not_answered(item["item_id"], outcome, **facts)
        else:
            yield answered(
                item["item_id"],
                score=outcome.score,
                worst=min(outcome.marks, key=lambda name: outcome.marks[name]),
                rewritten=outcome.rewritten,
                detail=outcome.reason,
                evidence=to_json(outcome.marks),
                **facts,
            )


def verdict_id(quadruplet_id: str, restoration: str) -> str:
    """Return the id of what is judged: a quadruplet with the words that were written for it."""
    return digest("verdict", quadruplet_id, restoration)
