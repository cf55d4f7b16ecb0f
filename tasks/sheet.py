"""A contact sheet of quadruplets: reference, input with the mask outlined, ground truth, and both instructions."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from font_roboto import Roboto
from PIL import Image, ImageDraw, ImageFont, ImageOps

from schemas.errors import ProjectError
from schemas.records import Mask, Pixels
from tasks.codecs import load_mask, load_photo
from tasks.lake import Lake
from tasks.ledger import Row

TILE = 280  # px, the longer side of a picture
ZOOM = 134  # px: the edited place, twice, one above the other
GAP = 12
WIDTH = 3 * TILE + ZOOM + 5 * GAP
FORMATS = (".jpg", ".jpeg", ".png", ".webp")
OUTLINE = (255, 64, 32)


def contact_sheet(lake: Lake, quadruplets: Sequence[Row], columns: int) -> Image.Image:
    """Draw quadruplets (rows of the view), `columns` side by side."""
    panels = [_panel(lake, row) for row in quadruplets]
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    lines = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, lines * (height + GAP) + GAP), (226, 226, 222))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (GAP + number % columns * (width + GAP), GAP + number // columns * (height + GAP)))
    return sheet


def write_sheet(lake: Lake, quadruplets: Sequence[Row], out: Path, columns: int = 2) -> None:
    """Write a contact sheet; the format follows the name of `out`.

    Raises ProjectError where that names none, and ArtifactError where one of the lake's files is missing or damaged.
    """
    if out.suffix.lower() not in FORMATS:
        raise ProjectError(f"sheet {out}: its name ends in none of {', '.join(FORMATS)}; give it one of those")
    contact_sheet(lake, quadruplets, columns).save(out)


def _panel(lake: Lake, row: Row) -> Image.Image:
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
    draw.text((GAP, TILE + 30), kind, fill=(110, 110, 110), font=small)
    draw.text((GAP, TILE + 52), _fitted(f"edit: {row['edit_instruction']}", font), fill="black", font=font)
    draw.text((GAP, TILE + 76), _fitted(f"restore: {row['restore_instruction']}", font), fill="black", font=font)
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


def _fitted(text: str, font: ImageFont.FreeTypeFont) -> str:
    limit = WIDTH - 2 * GAP
    if font.getlength(text) <= limit:
        return text
    while font.getlength(text + "…") > limit:
        text = text[:-1]
    return text + "…"
