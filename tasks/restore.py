"""Stage 4: the writer words the instruction that restores the target from the input and the reference."""

from collections.abc import Iterator, Sequence

from schemas.ids import digest
from schemas.records import EditInstruction, Photo
from schemas.settings import Settings
from tasks.codecs import load_mask, load_photo, load_sides
from tasks.engines.load import load_writer
from tasks.engines.vlm import RestoreQuestion
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered
from tasks.requests import Requests

VERSION = 1
SHOWN = (  # columns of a triplet: all that this stage is shown
    "reference_id", "target_id", "input_sha256", "target_sha256", "reference_sha256", "mask_sha256", "instruction",
)  # fmt: skip


def restore(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Word the restorations of triplets (rows of the view `triplets`), one row each: with it they are quadruplets."""
    requests = Requests(lake)
    questions = [_question(lake, item, *sides) for item, sides in zip(items, load_sides(lake, items), strict=True)]
    for item, outcome in zip(items, load_writer(settings, requests).write_restores(questions), strict=True):
        facts = {key: value for key, value in item.items() if key != "item_id"} | requests.columns(item["item_id"])
        if isinstance(outcome, Exception):
            yield not_answered(item["item_id"], outcome, **facts)
        else:
            yield answered(item["item_id"], sentence=outcome.sentence, **facts)


def _question(lake: Lake, item: Row, target: Photo, reference: Photo) -> RestoreQuestion:
    return RestoreQuestion(
        quadruplet_id=item["item_id"],
        input=load_photo(lake, item["input_sha256"]),
        reference=reference,
        target=target,
        mask=load_mask(lake, item["mask_sha256"]),
        instruction=EditInstruction.model_validate_json(item["instruction"]),
    )


def quadruplet_id(triplet: Row) -> str:
    """Return the id of a quadruplet: the digest of all that stage 4 is shown."""
    return digest("quadruplet", *(triplet[key] for key in SHOWN))
