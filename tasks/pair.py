"""Stage 1: the judge scores candidate pairs: the same product, a consistent style, reasonable viewpoints."""

from collections.abc import Iterator, Sequence

from schemas.settings import Settings
from tasks.codecs import load_sides
from tasks.engines.load import load_writer
from tasks.engines.vlm import PairQuestion
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered, to_json
from tasks.requests import Requests

VERSION = 4


def pair(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Judge pairs (rows of the view `candidates`), one row each. The cuts are applied by the catalogue, not here."""
    requests = Requests(lake)
    questions = [
        PairQuestion(item["item_id"], target, reference, known_same=item["known_same"])
        for item, (target, reference) in zip(items, load_sides(lake, items), strict=True)
    ]
    for item, outcome in zip(items, load_writer(settings, requests).judge_pairs(questions), strict=True):
        sides = {"target_id": item["target_id"], "reference_id": item["reference_id"]}
        sides |= requests.columns(item["item_id"])
        if isinstance(outcome, Exception):
            yield not_answered(item["item_id"], outcome, **sides)
        else:
            yield answered(
                item["item_id"],
                same_product=outcome.same_product,
                style=outcome.style,
                viewpoint=outcome.viewpoint,
                detail=outcome.reason,
                evidence=to_json(outcome.evidence),
                **sides,
            )
