"""Intake: a listed file becomes an image by its digest, and a photo in its bucket, in a split group for good."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.ids import digest, sha256
from schemas.records import EngineFailure, Refusal
from schemas.settings import Intake, Settings
from tasks.decoding import decode_apart
from tasks.lake import Lake, put
from tasks.ledger import Row, answered, not_answered
from tasks.listing import on_disk
from tasks.photos import FORMATS
from tasks.takedowns import taken_down

VERSION = 4


def ingest(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Take in listed files (rows of tasks.listing.Listed), one row each."""
    barred = taken_down(lake)
    for item in items:
        facts = {key: item[key] for key in ("root", "path", "product", "licence", "extra")}
        facts["split_group"] = split_group(item["product"], settings)
        try:
            data = _read(item, int(settings.intake.max_megabytes * 1e6))
            if (image_id := sha256(data)) in barred:
                raise Refusal("taken-down", f"it was taken down: {barred[image_id]}", image_id=image_id)
            found = _take_in(lake, settings.intake, data)
            yield answered(item["item_id"], **facts, **found)
        except (Refusal, EngineFailure) as outcome:
            yield not_answered(item["item_id"], outcome, **facts)


def split_group(product: str | None, settings: Settings) -> str:
    """Return the split group of a product by its hash; photos of unknown product are for training.

    Nothing at intake can say which of them show the same thing, so none may be held back for the benchmark.
    """
    if product is None:
        return "train"
    splits = settings.splits
    position = int(digest("split", product), 16) / 16**32
    if position < splits.benchmark:
        return "benchmark"
    return "validation" if position < splits.benchmark + splits.validation else "train"


def _take_in(lake: Lake, intake: Intake, data: bytes) -> Row:
    taken = decode_apart(data, intake)
    image_id, extension = sha256(data), FORMATS[taken.format]
    put(lake, lake.image(image_id, extension), data)
    return {
        "image_id": image_id,
        "format": extension,
        "source_width": taken.source_width,
        "source_height": taken.source_height,
        "width": taken.width,
        "height": taken.height,
        "photo_sha256": lake.put_artifact(taken.webp, "webp"),
        "phash": taken.hashes[0],
        "hashes": taken.hashes,
    }


def _read(item: Row, limit: int) -> bytes:
    """Read a file that lies under its root, links followed, and is not over `limit` bytes.

    What could not be looked at when it was listed is refused: once it can be, it is listed under another id. What
    could, and now cannot be read (a disk that is gone, a network's mood) fails, and is asked again.
    """
    root, path = on_disk(item["root"], ""), on_disk(item["root"], item["path"])
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            raise Refusal("outside", "the path leads out of the folder of photos")
        if real.is_dir():
            raise Refusal("not-a-file", _of_folder(path, real))
        if not real.is_file():
            raise Refusal("not-a-file", "the path is no regular file")
        with real.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, RuntimeError, ValueError) as error:  # a name with a NUL is a ValueError
        links = "the links go in a circle" if isinstance(error, RuntimeError) else str(error)
        reason = error.strerror if isinstance(error, OSError) else links
        if item["size"] < 0:
            raise Refusal("unreadable", f"the file cannot be read: {reason}") from None
        raise EngineFailure(f"{item['path']}: {reason}, though it was there when it was listed") from None
    if len(data) > limit:
        raise Refusal("too-large", f"the file is over {limit / 1e6:g} megabytes")
    return data


def _of_folder(path: Path, real: Path) -> str:
    """Say why a folder stands among the photos. Raises OSError where it cannot be looked into."""
    with os.scandir(real):
        if path.is_symlink():
            return "a link to a folder that holds it, or that another link leads to already"
    return "it is a folder; what lies in it is listed by itself"
