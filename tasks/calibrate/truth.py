"""How good the instructions and edits are, by what rendered photos know of themselves.

A photo counts whose folder has the renderer's truth.jsonl. It is rendered once more, to the pixel, and the region that
an instruction names is looked up on the product itself: what lies there, and whether the reference shows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np

from schemas.records import Category, EditInstruction, Mask, Photo, Polygon
from tasks.catalog import rows
from tasks.codecs import load_mask, load_photo
from tasks.engines import words
from tasks.engines.regions import colour_shares, things_once
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.render.photos import render_view
from tasks.render.products import product
from tasks.render.texture import look_up
from tasks.render.truth import Render, SeenPart, on_product, part_mask, region, visible_in

TOLD = {"path", "product_id", "seed", "number", "view"}  # what a line of truth.jsonl says, and more
COVERED = 0.5  # of a region, by the parts of a category: the region is then of that category
OVERLAP = 0.3  # intersection over union with one part: and so it is
WITHIN = 0.8  # of a part, in the region: and so it is, where no other category covers more of it (small print)
COLOURED = 0.2  # of a region's paint: it may be called by that colour
LEAST_PART = 0.01  # of the photo: what an instruction may name covers as much
LEAST_SHOWN = 0.8  # of a part's surface, for it to be looked for
SLACK = 0.02  # of the photo: so near the border of two ninths either word is right


@dataclass(frozen=True)
class Shot:
    """Which rendered photo an image is, and its size in the lake."""

    seed: int
    number: int  # of the product
    hard: bool
    view: int
    rendered: tuple[int, int]  # px: width and height, as rendered
    bucket: tuple[int, int]  # px: in the lake


@dataclass(frozen=True)
class Found:
    """An instruction held against the truth.

    `visible` is the share (0..1) of its region that the reference shows, `on_product` that lies on the product, `area`
    its share of the photo; `right` says whether what lies there is of its category, `says` what of its sentences is
    wrong ("thing", "place", "attribute").
    """

    category: Category
    visible: float
    on_product: float
    area: float
    right: bool
    says: tuple[str, ...]


def shots_of(connection: duckdb.DuckDBPyConnection) -> dict[str, Shot]:
    """Return the lake's rendered photos by image_id."""
    found: dict[str, Shot] = {}
    told: dict[str, Mapping[str, Any]] = {}
    for row in rows(connection, "SELECT root, path, image_id, width, height FROM sources ORDER BY root, path"):
        if row["root"] not in told:
            told[row["root"]] = _told(Path(row["root"]) / "truth.jsonl")
        truth = told[row["root"]].get(row["path"])
        if truth is not None:
            view = truth["view"]
            found[row["image_id"]] = Shot(
                seed=truth["seed"],
                number=truth["number"],
                hard="-hard" in truth["product_id"],
                view=view["number"],
                rendered=(view["width"], view["height"]),
                bucket=(row["width"], row["height"]),
            )
    return found


def check(
    connection: duckdb.DuckDBPyConnection, lake: Lake, shots: Mapping[str, Shot], advance: Callable[[int], None]
) -> tuple[list[Found], list[tuple[Category, bool]]]:
    """Hold the quadruplets of rendered photos against the truth.

    Returns what was found of each instruction; and each part of their targets that could be named, by its category,
    with whether the embedded writer finds it: one that covers 1% of its photo and turns most of its surface to it.
    `advance` is told of each quadruplet done.
    """
    found: list[Found] = []
    parts: list[tuple[Category, bool]] = []
    for rows_of_product in by_product(connection, shots):
        for row in rows_of_product:
            found.append(
                _check(row, load_mask(lake, row["mask_sha256"]), shots[row["target_id"]], shots[row["reference_id"]])
            )
            advance(1)
        targets = {row["target_id"]: row["target_sha256"] for row in rows_of_product}
        for image_id, digest in targets.items():
            parts += _parts_of(Photo(image_id, load_photo(lake, digest)), shots[image_id])
    return found, parts


def by_product(connection: duckdb.DuckDBPyConnection, shots: Mapping[str, Shot]) -> Iterator[list[Row]]:
    """Yield the quadruplets of one product after the other, so that each photo is rendered once."""
    sql = """SELECT quadruplet_id, target_id, target_sha256, mask_sha256, reference_id, instruction, edit_instruction,
                    restore_instruction
             FROM quadruplets WHERE accepted ORDER BY quadruplet_id"""
    products: dict[tuple[int, bool, int], list[Row]] = {}
    for row in rows(connection, sql):
        if row["target_id"] in shots and row["reference_id"] in shots:
            shot = shots[row["target_id"]]
            products.setdefault((shot.seed, shot.hard, shot.number), []).append(row)
    for _, found in sorted(products.items()):
        yield found


def _parts_of(photo: Photo, shot: Shot) -> Iterator[tuple[Category, bool]]:
    render = render_of(shot)
    things = [
        (thing.category, region(in_source(thing.polygon, shot), render.surface.shape)) for thing in things_once(photo)
    ]
    for part, mask in _masks_of(shot):
        if part.area_share >= LEAST_PART and part.visible_share >= LEAST_SHOWN:
            yield (
                part.category,
                any(category is part.category and _overlap(mask, inside) >= OVERLAP for category, inside in things),
            )


@lru_cache(maxsize=32)
def render_of(shot: Shot) -> Render:
    """Render a photo once more, with its truth."""
    return render_view(product(shot.seed, shot.number, shot.hard), shot.view, shot.seed, max(shot.rendered))


@lru_cache(maxsize=8)
def _masks_of(shot: Shot) -> list[tuple[SeenPart, Mask]]:
    """Return a photo's parts, each with the pixels (H, W) that show it."""
    render = render_of(shot)
    places = {part.id: part for part in render.model.parts}
    return [(part, part_mask(places[part.id], render.surface, render.uv)) for part in render.parts]


def in_source(polygon: Polygon, shot: Shot) -> Polygon:
    """Return a polygon of the bucketed photo as one of the photo as rendered: intake crops its middle to the bucket."""
    scale = max(shot.bucket[0] / shot.rendered[0], shot.bucket[1] / shot.rendered[1])
    across, down = (
        bucket / scale / side for bucket, side in zip(shot.bucket, shot.rendered, strict=True)
    )  # shares kept
    return tuple((0.5 + (x - 0.5) * across, 0.5 + (y - 0.5) * down) for x, y in polygon)


def _check(row: Row, changed: Mask, target: Shot, reference: Shot) -> Found:
    """Hold one quadruplet, whose input differs from its target where `changed`, against the truth."""
    instruction = EditInstruction.model_validate_json(row["instruction"])
    render = render_of(target)
    polygon = in_source(instruction.region, target)
    inside = region(polygon, render.surface.shape)
    right = instruction.category in named_by(target, inside)
    wrong = []
    if not right:
        wrong.append("thing")
    places = {
        "edit_instruction": words.centre_of(instruction.region),
        "restore_instruction": words.centre_of_mask(changed),
    }
    quoted = [text for text in (instruction.text_before, instruction.text_after) if text is not None]
    if not all(says_the_place(row[name], place, quoted) for name, place in places.items()):
        wrong.append("place")
    read = instruction.text_before
    misread = read is not None and not any(_says(part.text, read) for part in _within(target, inside) if part.text)
    if misread or (read is None and not _of_the_colour(instruction.subject, render, inside)):
        wrong.append("attribute")
    return Found(
        category=instruction.category,
        visible=visible_in(render, render_of(reference), polygon),
        on_product=on_product(render, polygon),
        area=float(inside.mean()),
        right=right,
        says=tuple(wrong),
    )


def says_the_place(sentence: str, point: tuple[float, float], quoted: Sequence[str] = ()) -> bool:
    """Say whether the sides that a sentence names are those where a relative point lies, as the viewer sees it.

    `quoted` are the texts that it quotes, whatever sides those name.
    """
    for text in quoted:
        sentence = sentence.replace(f"'{text}'", "")
    told = re.sub(r"the right (one|thing)|lower resolution", "", sentence.lower())
    said = set(re.findall(r"\b(left|right|top|upper|bottom|lower)\b", told))
    across, down = (at - 0.5 for at in point)
    sides = (
        ({"left"}, across < -words.CENTRE + SLACK, across < -words.CENTRE - SLACK),
        ({"right"}, across > words.CENTRE - SLACK, across > words.CENTRE + SLACK),
        ({"top", "upper"}, down < -words.CENTRE + SLACK, down < -words.CENTRE - SLACK),
        ({"bottom", "lower"}, down > words.CENTRE - SLACK, down > words.CENTRE + SLACK),
    )
    return all((may if said & names else not must) for names, may, must in sides)


def _told(file: Path) -> Mapping[str, Any]:
    """Return the lines of a truth.jsonl by path; none where there is no such file, or it is somebody else's."""
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {line["path"]: line for line in lines if line.keys() >= TOLD}
    except (OSError, ValueError, AttributeError):
        return {}


def named_by(shot: Shot, inside: Mask) -> set[Category]:
    """Return the categories that a region (H, W) may rightly be named by: OBJECT_DETAIL where no other names it."""
    named: set[Category] = set()
    covered: dict[Category, Mask] = {}
    small: set[Category] = set()
    for part, mask in _masks_of(shot):
        covered[part.category] = covered.get(part.category, np.zeros_like(mask)) | mask
        if _overlap(mask, inside) >= OVERLAP:
            named.add(part.category)
        if (mask & inside).sum() >= WITHIN * mask.sum():
            small.add(part.category)
    shares = {category: (mask & inside).sum() / inside.sum() for category, mask in covered.items()}
    named |= {category for category, share in shares.items() if share >= COVERED}
    shares.pop(Category.OBJECT_DETAIL, None)
    if not named & shares.keys() and sum(shares.values()) < COVERED:
        named.add(Category.OBJECT_DETAIL)
    return named | {category for category in small & shares.keys() if shares[category] == max(shares.values())}


def _of_the_colour(subject: str, render: Render, inside: Mask) -> bool:
    """Say whether a region (H, W) is of the colour that its subject names, by its paint, without light and shadow."""
    named = set(subject.split()) & colour_shares(np.zeros((1, 3), np.float32)).keys()
    if not named:
        return True
    paint = [
        look_up(surface.texture[0], u * surface.texture[0].shape[1] - 0.5, v * surface.texture[0].shape[0] - 0.5)
        for index, surface in enumerate(render.model.surfaces)
        for u, v in [render.uv[inside & (render.surface == index)].T]
    ]
    colours = np.concatenate(paint)  # (N, 3) sRGB
    if not len(colours):
        return False
    shares = colour_shares(np.asarray(cv2.cvtColor(colours[None] / 255, cv2.COLOR_RGB2LAB))[0])
    return all(shares[colour] >= COLOURED for colour in named)


def _within(shot: Shot, inside: Mask) -> list[SeenPart]:
    """Return the parts of which a region (H, W) holds half or more."""
    return [part for part, mask in _masks_of(shot) if (mask & inside).sum() >= COVERED * mask.sum()]


def _says(text: str, read: str) -> bool:
    """Say whether what was read is a text, or whole words of it in a row."""
    words = [_letters(word) for word in text.split()]
    runs = {"".join(words[start:stop]) for start in range(len(words)) for stop in range(start + 1, len(words) + 1)}
    return _letters(read) in runs


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _letters(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def damage(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return, for each operation, how the change lies to the region that was asked for, before any paste-back.

    `iou` is the median intersection over union of the two, `spill` the median and `most_spill` the 95th percentile of
    the change outside as a share of the region's area; `psnr` dB within the mask.
    """
    return rows(
        connection,
        """WITH told AS (SELECT *, filled * outside / (1 - outside) AS spilt FROM quadruplets
                        WHERE accepted AND outside < 1)
           SELECT operation, count(*) AS n, median(filled / (1 + spilt)) AS iou, median(spilt) AS spill,
                  quantile_cont(spilt, 0.95) AS most_spill, median(mask_area) AS mask, median(psnr) AS psnr
           FROM told GROUP BY ROLLUP (operation) ORDER BY operation NULLS LAST""",
    )


def phrasings(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return how many of the first 1,000 restorations, by digest, are worded differently, places and all."""
    sql = """SELECT count(*) AS sentences, count(DISTINCT restore_instruction) AS different FROM (
                 SELECT restore_instruction FROM quadruplets WHERE accepted ORDER BY quadruplet_id LIMIT 1000)"""
    return rows(connection, sql)


def median(values: Sequence[float]) -> float:
    """Return the median, 0 of none."""
    return float(np.median(values)) if values else 0.0
