"""A contact sheet of quadruplets: reference, input with the mask outlined, ground truth, and both instructions."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from font_roboto import Roboto
from PIL import Image, ImageDraw, ImageFont

from schemas.records import Mask, Pixels
from tasks.codecs import load_mask, load_photo
from tasks.lake import Lake
from tasks.ledger import Row

TILE = 300  # px, the longer side of a picture
GAP = 12
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
    """Write a contact sheet; the format follows the name of `out`."""
    contact_sheet(lake, quadruplets, columns).save(out)


def _panel(lake: Lake, row: Row) -> Image.Image:
    input, mask = load_photo(lake, row["input_sha256"]), load_mask(lake, row["mask_sha256"])
    pictures = {
        "reference": load_photo(lake, row["reference_sha256"]),
        "input (mask outlined)": _outlined(input, mask),
        "ground truth": load_photo(lake, row["target_sha256"]),
    }
    panel = Image.new("RGB", (3 * TILE + 4 * GAP, TILE + 104), "white")
    draw = ImageDraw.Draw(panel)
    small, bold = ImageFont.truetype(Roboto, 15), ImageFont.truetype(Roboto, 13)
    for number, (title, pixels) in enumerate(pictures.items()):
        picture = Image.fromarray(pixels)
        picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        left = GAP + number * (TILE + GAP)
        panel.paste(picture, (left + (TILE - picture.width) // 2, 26 + (TILE - picture.height) // 2))
        draw.text((left, 6), title, fill=(110, 110, 110), font=bold)
    kind = f"{row['task']} | {row['category']} | {row['operation']} | {row['quadruplet_id'][:12]}"
    draw.text((GAP, TILE + 30), kind, fill=(110, 110, 110), font=bold)
    draw.text((GAP, TILE + 50), f"edit: {_fitted(row['edit_instruction'], small)}", fill="black", font=small)
    draw.text((GAP, TILE + 74), f"restore: {_fitted(row['restore_instruction'], small)}", fill="black", font=small)
    return panel


def _outlined(pixels: Pixels, mask: Mask) -> Pixels:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = pixels.copy()
    cv2.drawContours(drawn, contours, -1, OUTLINE, 2)
    return drawn


def _fitted(text: str, font: ImageFont.FreeTypeFont) -> str:
    limit = 3 * TILE - 70
    if font.getlength(text) <= limit:
        return text
    while font.getlength(text + "…") > limit:
        text = text[:-1]
    return text + "…"
