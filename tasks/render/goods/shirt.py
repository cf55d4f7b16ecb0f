"""A T-shirt laid out or hung: two sheets of cloth with folds, sewn, printed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Category
from tasks.render.artwork import Panel
from tasks.render.colours import BLACK, WHITE, mix
from tasks.render.model import Model, assemble, printed
from tasks.render.products import Product
from tasks.render.shapes import Sheet
from tasks.render.texture import Plane, noise


def model(item: Product, scale: float, rng: np.random.Generator) -> Model:
    """Build the shirt: front and back with folds of their own, and the inside that shows in the neck."""
    colours = item.palette
    wide, high = 1.2, 1.06
    outline, neckline = _outline(rng)
    fine = max(120, round(scale * 0.5))
    back_mask, front_mask = _cut(outline, wide, high, fine), _cut(neckline, wide, high, fine)
    relief = _folds(back_mask, fine, rng, outline)
    again = _folds(back_mask, fine, rng, outline)
    front = _print(item, wide, high, scale, neckline, rng, "front")
    back = _print(item, wide, high, scale, outline, rng, "back")
    inside = Panel(wide, high, scale / 2, mix(colours.base, BLACK, 0.35))
    label = (0.465, 0.115, 0.535, 0.155)
    inside.fill(label, WHITE)
    inside.text((0.472, 0.122, 0.528, 0.148), item.brand, "sans", BLACK)
    inside.mark("neck-label", Category.OBJECT_DETAIL, "the label in the neck", label, WHITE)
    height, width = round(high * scale), round(wide * scale)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    weave = 0.02 * np.sin(x * 2.6) * np.sin(y * 2.6) + 0.03 * noise(rng, height, width, height / 2, width / 2)
    weave += 0.025 * noise(rng, height, width, 9, 9)
    place = (-wide / 2, 0.0, wide, high)
    lying = np.full((2, 2), 0.03, np.float32)
    return assemble(
        [
            printed("front", Sheet(*place, relief, front_mask, 1), front, weave, 0.02, 0.2, soft=True),
            printed("back", Sheet(*place, -again * 0.8, back_mask, -1), back, weave, 0.02, 0.2, soft=True),
            printed("inside", Sheet(*place, -again * 0.8 + 0.002, back_mask, 1), inside, None, 0.0, 0.2, soft=True),
        ],
        [Sheet(*place, lying, back_mask, side) for side in (1, -1)],
        standing=False,
    )


def _outline(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outlines, (N, 2) in units with y up, of a shirt's back and of its front with the deeper neck."""
    hem, sleeve = rng.uniform(0.3, 0.34), rng.uniform(0.5, 0.56)
    drop = rng.uniform(0.02, 0.05)
    half = [
        (0.02, 0.03), (hem - 0.03, 0.025), (hem, 0.04), (0.29, 0.4), (0.3, 0.66), (0.31, 0.69),
        (sleeve - 0.08, 0.58 - drop), (sleeve - 0.06, 0.57 - drop), (sleeve, 0.68 - drop), (sleeve, 0.7 - drop),
        (0.42, 0.9), (0.38, 0.945), (0.16, 1.02), (0.13, 1.025),
    ]  # fmt: skip
    right = np.array(half)
    neck = {"back": [(0.1, 0.985), (0.0, 0.975)], "front": [(0.115, 0.93), (0.07, 0.87), (0.0, 0.85)]}
    outlines = []
    for dip in (neck["back"], neck["front"]):
        one = np.concatenate([right, np.array(dip)])
        outlines.append(np.concatenate([one, one[::-1][1:] * [-1, 1]]))
    return outlines[0], outlines[1]


def _cut(outline: NDArray[np.float64], wide: float, high: float, fine: int) -> Plane:
    """Return the mask (H, W) of a cloth cut along an outline, `fine` pixels a unit, soft-edged."""
    size = (round(wide * fine), round(high * fine))
    points = np.stack([(outline[:, 0] + wide / 2) * fine, (high - outline[:, 1]) * fine], axis=1)
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), fine * 0.004), np.float32)


def _folds(mask: Plane, fine: int, rng: np.random.Generator, outline: NDArray[np.float64]) -> Plane:
    """Return the depth of a shirt laid out, in units: rounded to its edges, with folds from the armpits and the hem."""
    rows, columns = mask.shape
    solid = (mask > 0.5).astype(np.uint8)
    inward = np.asarray(
        cv2.distanceTransform(cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)
    )[1:-1, 1:-1]
    near = np.clip(inward / (0.1 * fine), 0, 1)
    body = 0.055 * np.sqrt(1 - (1 - near) ** 2)
    body = cv2.GaussianBlur(body, (0, 0), fine * 0.008)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / np.float32(fine)
    x, y = x - columns / fine / 2, rows / fine - y
    folds = 0.009 * noise(rng, rows, columns, 5, 6) + 0.005 * noise(rng, rows, columns, 12, 14)
    for _ in range(16):
        side = rng.choice([-1.0, 1.0])
        if rng.random() < 0.5:  # from an armpit inwards
            start, angle = (side * 0.3, 0.66), np.pi / 2 - side * rng.uniform(0.3, 2.2)
            length = rng.uniform(0.1, 0.28)
        else:  # up from the hem
            start, angle = (rng.uniform(-0.26, 0.26), rng.uniform(0.05, 0.5)), rng.uniform(-0.5, 0.5)
            length = rng.uniform(0.12, 0.3)
        dx, dy = x - start[0], y - start[1]
        along = dx * np.sin(angle) + dy * np.cos(angle)
        across = dx * np.cos(angle) - dy * np.sin(angle) + 0.15 * along * along * rng.uniform(-1, 1)
        size = rng.uniform(0.008, 0.018) * rng.choice([-1, 1])
        folds += size * np.exp(-((across / rng.uniform(0.014, 0.034)) ** 2) - (along / length) ** 2)
    for side in (-1, 1):  # the seams where the sleeves are set in
        far = np.abs((x * side - 0.3) * 0.955 - (y - 0.67) * 0.3)
        folds -= 0.008 * np.exp(-((far / 0.012) ** 2)) * (y > 0.62)
    return np.asarray(body + folds * np.clip(near * 1.5, 0, 1), np.float32)


def _print(
    item: Product,
    wide: float,
    high: float,
    scale: float,
    outline: NDArray[np.float64],
    rng: np.random.Generator,
    side: str,
) -> Panel:
    colours = item.palette
    panel = Panel(wide, high, scale, colours.base)
    seam, dark = mix(colours.base, WHITE, 0.35), mix(colours.base, BLACK, 0.22)
    if side == "front":
        panel.pattern((0.26, 0.56, 0.74, 0.7), item.pattern, colours, 0.085, "pattern")
        panel.fill((0.26, 0.553, 0.74, 0.56), colours.ink)
        panel.fill((0.26, 0.7, 0.74, 0.707), colours.ink)
        panel.logo((0.5, 0.315), 0.085, item.logo, item.badge, colours, "logo")
        panel.text((0.31, 0.415, 0.69, 0.49), item.brand, item.font, colours.ink, "brand", spread=True)
        panel.text((0.31, 0.505, 0.69, 0.54), item.line, "sans", colours.ink, "line")
    else:
        panel.text((0.36, 0.2, 0.64, 0.25), item.brand, item.font, colours.ink, "back-brand")
        panel.logo((0.5, 0.38), 0.1, item.logo, item.badge, colours, "back-logo")
    frame = np.stack([outline[:, 0] / wide + 0.5, 1 - outline[:, 1] / high], axis=1)
    neck = frame[(np.abs(frame[:, 0] - 0.5) < 0.13) & (frame[:, 1] < 0.25)]
    neck = neck[np.argsort(neck[:, 0])]
    smooth = np.stack(
        [np.interp(np.linspace(0, len(neck) - 1, 60), np.arange(len(neck)), neck[:, i]) for i in (0, 1)], axis=1
    )
    ribs = [(float(x * panel.image.width), float(y * panel.image.height)) for x, y in smooth]
    panel.draw.line(ribs, fill=dark, width=round(0.055 * panel.pixel), joint="curve")
    panel.stitches(smooth + np.array([0, 0.036]), seam)
    top, low = float(neck[:, 1].min()), float(neck[:, 1].max())
    if side == "front":
        panel.mark("collar", Category.OBJECT_DETAIL, "the ribbed collar", (0.37, top, 0.63, low + 0.045), dark)
    for y in (0.938, 0.948):
        panel.stitches(np.array([[0.2, y], [0.8, y]]), seam)
    panel.mark(f"{side}-hem", Category.OBJECT_DETAIL, "the stitched hem", (0.22, 0.92, 0.78, 0.975), seam)
    for sign in (-1, 1):
        arm = np.array([[0.31, 0.67], [0.37, 0.95]]) * [sign, 1]
        panel.stitches(np.stack([arm[:, 0] / wide + 0.5, 1 - arm[:, 1] / high], axis=1), dark, 0.02)
        cuff = np.array([[0.43, 0.545], [0.53, 0.67]]) * [sign, 1]
        panel.stitches(np.stack([cuff[:, 0] / wide + 0.5, 1 - cuff[:, 1] / high], axis=1), seam)
    return panel
