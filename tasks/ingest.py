"""Intake: a listed file becomes an image by its digest, and a photo in its bucket, in a split group for good."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import imagehash
from PIL import Image

from schemas.ids import digest, sha256
from schemas.records import EngineFailure, Refusal
from schemas.settings import Intake, Settings
from tasks.codecs import encode_webp
from tasks.lake import Lake, put
from tasks.ledger import Row, answered, not_answered
from tasks.photos import FORMATS, decode_photo

VERSION = 1


def ingest(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Take in listed files (the fields of tasks.listing.Listed, with their item_id), one row each."""
    for item in items:
        facts = {key: item[key] for key in ("root", "path", "product", "licence", "extra")}
        facts["split_group"] = split_group(item["product"], settings)
        try:
            found = _take_in(lake, settings.intake, Path(item["root"]), item["path"])
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


def _take_in(lake: Lake, intake: Intake, root: Path, path: str) -> Row:
    data = _read(root, path, int(intake.max_megabytes * 1e6))
    decoded = decode_photo(data, intake)
    image_id = sha256(data)
    put(lake, lake.image(image_id, FORMATS[decoded.format]), data)
    height, width, _ = decoded.pixels.shape
    return {
        "image_id": image_id,
        "format": FORMATS[decoded.format],
        "source_width": decoded.source_width,
        "source_height": decoded.source_height,
        "width": width,
        "height": height,
        "photo_sha256": lake.put_artifact(encode_webp(decoded.pixels), "webp"),
        "phash": int(str(imagehash.phash(Image.fromarray(decoded.pixels))), 16),
    }


def _read(root: Path, path: str, limit: int) -> bytes:
    """Read a file that lies under root, links followed, and is not over `limit` bytes."""
    try:
        real = (root / path).resolve(strict=True)
        if not real.is_relative_to(root):
            raise Refusal("outside", "the path leads out of the folder of photos")
        if not real.is_file():  # a folder, fifo or device
            raise Refusal("not-a-file", "the path is no regular file")
        with real.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Refusal("unreadable", f"the file cannot be read: {reason}") from None
    except OSError as error:  # rights, a network disk's mood: it may be otherwise next time
        raise EngineFailure(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise Refusal("too-large", f"the file is over {limit / 1e6:g} megabytes")
    return data
