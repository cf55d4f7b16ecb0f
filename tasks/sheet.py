"""Contact sheets: of quadruplets with their instructions, of pairs by their scores, of clusters of near-duplicates."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import cv2
import duckdb
import numpy as np
from font_roboto import Roboto
from PIL import Image, ImageDraw, ImageFont, ImageOps

from schemas.errors import ProjectError
from schemas.records import Mask, Pixels, Score
from schemas.scores import WORSE
from tasks.catalog import rows
from tasks.codecs import load_mask, load_photo, load_sides
from tasks.duplicates import Cluster
from tasks.lake import Lake
from tasks.ledger import Row

TILE = 280  # px, the longer side of a picture
ZOOM = 134  # px: the edited place, twice, one above the other
GAP = 12
IN_A_LINE = 6  # photos of a cluster
WIDTH = 3 * TILE + ZOOM + 5 * GAP
FORMATS = (".jpg", ".jpeg", ".png", ".webp")
OUTLINE = (255, 64, 32)


def order_by(score: str | None) -> tuple[str, str]:
    """Return SQL over the view `samples`: which of them have a score, and the order with the worst first.

    Without a score: all, by their digests. Raises ProjectError where there is no such score.
    """
    if score is None:
        return "true", "quadruplet_id"
    if score not in WORSE:
        near = difflib.get_close_matches(score, WORSE, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(WORSE)}"
        raise ProjectError(f"sheet --by {score}: no such score; {hint}")
    return f"{score} IS NOT NULL", f"{score} {'ASC' if WORSE[score] == 'low' else 'DESC'}, quadruplet_id"


def write_sheet(lake: Lake, quadruplets: Sequence[Row], out: Path, score: str | None = None, columns: int = 2) -> None:
    """Write a sheet of quadruplets (rows of the view): reference, input, ground truth, both instructions, and a score.

    The format follows the name of `out`. Raises ProjectError where that names none, and ArtifactError where one of the
    lake's files is missing or damaged.
    """
    _save([_panel(lake, row, score) for row in quadruplets], columns, out)


def write_pair_sheet(lake: Lake, pairs: Sequence[tuple[str, Row]], score: Score, out: Path, columns: int = 3) -> None:
    """Write a sheet of ranked pairs: target and reference, where the pair stands, its scores and the judge's reason.

    Raises as `write_sheet` does.
    """
    _save([_pair_panel(lake, standing, row, score) for standing, row in pairs], columns, out)


def write_cluster_sheet(lake: Lake, clusters: Sequence[Cluster], out: Path) -> None:
    """Write a sheet of clusters, one a line: the keeper first, then the photos that are set aside for it.

    Raises as `write_sheet` does.
    """
    _save([_cluster_panel(lake, cluster) for cluster in clusters], 1, out)


def ranked_pairs(connection: duckdb.DuckDBPyConnection, score: Score, count: int) -> list[tuple[str, Row]]:
    """Return the best, the middle and the worst of the scored pairs by a score, a third of `count` each, best first.

    Of style and viewpoint among the pairs of one product only, those under the cuts of style and viewpoint included.
    """
    sql = f"""SELECT pairs.*, t.photo_sha256 AS target_sha256, r.photo_sha256 AS reference_sha256
              FROM pairs CROSS JOIN cuts JOIN images t ON t.image_id = target_id
              JOIN images r ON r.image_id = reference_id
              WHERE status = 'answered' AND (pairs.same_product >= cuts.same_product OR $any_product)
              ORDER BY pairs.{score} DESC, pair_id"""
    found = rows(connection, sql, {"any_product": score is Score.SAME_PRODUCT})
    third = max(1, count // 3)
    if len(found) <= 3 * third:
        return [(f"{rank} of {len(found)}", row) for rank, row in enumerate(found, start=1)]
    middle = (len(found) - third) // 2
    starts = {"best": 0, "median": middle, "worst": len(found) - third}
    return [(f"{name}, {rank + 1} of {len(found)}", found[rank])
            for name, start in starts.items() for rank in range(start, start + third)]  # fmt: skip


def _save(panels: Sequence[Image.Image], columns: int, out: Path) -> None:
    """Lay panels out, `columns` side by side, and write them."""
    if out.suffix.lower() not in FORMATS:
        raise ProjectError(f"sheet {out}: its name ends in none of {', '.join(FORMATS)}; give it one of those")
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    lines = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, lines * (height + GAP) + GAP), (226, 226, 222))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (GAP + number % columns * (width + GAP), GAP + number // columns * (height + GAP)))
    sheet.save(out)


def _pair_panel(lake: Lake, standing: str, row: Row, score: Score) -> Image.Image:
    width = 2 * TILE + 3 * GAP
    panel = Image.new("RGB", (width, TILE + 92), "white")
    draw = ImageDraw.Draw(panel)
    font, small = ImageFont.truetype(Roboto, 15), ImageFont.truetype(Roboto, 13)
    draw.text((GAP, 6), f"{score.replace('_', ' ')} {row[score]:.2f}: {standing}", fill="black", font=font)
    for number, photo in enumerate(load_sides(lake, [row])[0]):
        panel.paste(_fit(photo.pixels, TILE), (GAP + number * (TILE + GAP), 28))
    scores = ", ".join(f"{name.replace('_', ' ')} {row[name]:.2f}" for name in Score)
    verdict = "accepted" if row["accepted"] else f"refused: {row['refused_for']}"
    draw.text((GAP, TILE + 34), f"{scores}  |  {verdict}", fill=(110, 110, 110), font=small)
    reason = row["reason"].split(": ", 1)[-1]
    draw.text((GAP, TILE + 54), _fitted(reason, small, width - 2 * GAP), fill=(110, 110, 110), font=small)
    return panel


def _cluster_panel(lake: Lake, cluster: Cluster) -> Image.Image:
    shown = cluster.members[:IN_A_LINE]
    panel = Image.new("RGB", (len(shown) * (TILE + GAP) + GAP, TILE + 58), "white")
    draw = ImageDraw.Draw(panel)
    font, small = ImageFont.truetype(Roboto, 15), ImageFont.truetype(Roboto, 13)
    more = f", {len(shown)} of them shown" if len(shown) < len(cluster.members) else ""
    title = f"{cluster.cluster_id[:12]}: {len(cluster.members)} photos{more}, {cluster.split_group}"
    draw.text((GAP, 6), title, fill="black", font=font)
    for number, member in enumerate(shown):
        left = GAP + number * (TILE + GAP)
        panel.paste(_fit(load_photo(lake, member.photo_sha256), TILE), (left, 28))
        caption = f"{'kept: ' if member.keeper else ''}{member.path}"
        draw.text((left, TILE + 34), _fitted(caption, small, TILE), fill=(110, 110, 110), font=small)
    return panel


def _panel(lake: Lake, row: Row, score: str | None) -> Image.Image:
    input, mask = load_photo(lake, row["input_sha256"]), load_mask(lake, row["mask_sha256"])
    target = load_photo(lake, row["target_sha256"])
    pictures = {
        "reference": load_photo(lake, row["reference_sha256"]),
        "input (mask outlined)": _outlined(input, mask),
        "ground truth": target,
    }
    panel = Image.new("RGB", (WIDTH, TILE + 104), "white")
    draw = ImageDraw.Draw(panel)
    font, small = ImageFont.truetype(Roboto, 15), ImageFont.truetype(Roboto, 13)
    for number, (title, pixels) in enumerate(pictures.items()):
        left = GAP + number * (TILE + GAP)
        draw.text((left, 6), title, fill=(110, 110, 110), font=small)
        panel.paste(_fit(pixels, TILE), (left, 26))
    left = 4 * GAP + 3 * TILE
    draw.text((left, 6), "input, truth: closer", fill=(110, 110, 110), font=small)
    box = _around(mask)
    panel.paste(_fit(input[box], ZOOM), (left, 26))
    panel.paste(_fit(target[box], ZOOM), (left, 26 + TILE - ZOOM))
    kind = f"{row['task']}  |  {row['category']}  |  {row['operation']}  |  {row['quadruplet_id'][:12]}"
    if score is not None:
        kind = f"{score.replace('_', ' ')} {row[score]:.4g}  |  {kind}"
    draw.text((GAP, TILE + 30), kind, fill=(110, 110, 110), font=small)
    draw.text(
        (GAP, TILE + 52), _fitted(f"edit: {row['edit_instruction']}", font, WIDTH - 2 * GAP), fill="black", font=font
    )
    draw.text(
        (GAP, TILE + 76),
        _fitted(f"restore: {row['restore_instruction']}", font, WIDTH - 2 * GAP),
        fill="black",
        font=font,
    )
    return panel


def _fit(pixels: Pixels, side: int) -> Image.Image:
    """Return the picture in the middle of a square."""
    return ImageOps.pad(Image.fromarray(pixels), (side, side), Image.Resampling.LANCZOS, color="white")


def _around(mask: Mask) -> tuple[slice, slice]:
    """Return the mask's box with a margin."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = 8
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin),
        slice(max(0, columns[0] - margin), columns[-1] + margin),
    )


def _outlined(pixels: Pixels, mask: Mask) -> Pixels:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = pixels.copy()
    cv2.drawContours(drawn, contours, -1, OUTLINE, 2)
    return drawn


def _fitted(text: str, font: ImageFont.FreeTypeFont, limit: int) -> str:
    if font.getlength(text) <= limit:
        return text
    while font.getlength(text + "…") > limit:
        text = text[:-1]
    return text + "…"
