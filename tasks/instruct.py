"""Stage 2: the writer proposes edits of the target, each in a region that the reference shows."""

import json
from collections.abc import Iterator, Sequence

from schemas.ids import digest
from schemas.records import EditInstruction
from schemas.settings import Settings
from tasks.codecs import load_sides
from tasks.engines.load import load_writer
from tasks.engines.vlm import EditQuestion
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered, to_json
from tasks.requests import Requests

VERSION = 4


def instruct(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Ask for edits of accepted pairs: one row an instruction, or one row for a pair that allows none."""
    requests = Requests(lake)
    questions = [
        EditQuestion(item["item_id"], target, reference, count=settings.instruct.edits_per_pair)
        for item, (target, reference) in zip(items, load_sides(lake, items), strict=True)
    ]
    for item, outcome in zip(items, load_writer(settings, requests).write_edits(questions), strict=True):
        sides = {"target_id": item["target_id"], "reference_id": item["reference_id"]}
        if isinstance(outcome, Exception):
            yield not_answered(item["item_id"], outcome, **sides, **requests.columns(item["item_id"]))
            continue
        for ordinal, instruction in enumerate(outcome):
            cost = requests.columns(item["item_id"]) if ordinal == 0 else {}
            yield answered(item["item_id"], ordinal=ordinal, **sides, **cost, **_columns(item, instruction))


def _columns(item: Row, instruction: EditInstruction) -> Row:
    content = instruction.content()
    return {
        "instruction_id": digest("instruction", item["item_id"], content),
        "edit_id": digest("edit", item["target_id"], content),
        "task": instruction.task.value,
        "category": instruction.category.value,
        "operation": instruction.operation.value,
        "instruction": json.dumps(content, sort_keys=True, ensure_ascii=False),
        "sentence": instruction.sentence,
        "evidence": to_json(instruction.evidence),
    }
