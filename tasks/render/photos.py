"""Photos of products, each a pure function of (seed, product, view), and a set of them written with its truth."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from schemas.ids import stream
from schemas.records import Pixels
from tasks.render.camera import look
from tasks.render.goods import build
from tasks.render.light import Look, look_of
from tasks.render.products import Product, product
from tasks.render.scene import photograph
from tasks.render.truth import Render, View, see_parts

ASPECTS = ((1.0, 1.0), (0.8, 1.0), (1.0, 0.8), (0.75, 1.0))  # width and height, of the longer side
TURNED_EVERY = 6  # of so many views of a product, one shows its back
TEXELS = 1.25  # texture pixels a product unit, of the photo's longer side


def render_view(item: Product, number: int, seed: int, size: int = 640) -> Render:
    """Render view `number` of a product, its longer side `size` pixels (64 or more).

    `seed` draws camera, light and background; the same arguments give the same pixels and truth.
    """
    if size < 64:
        raise ValueError(f"size must be 64 or more pixels, not {size}")
    rng = stream(seed, "view", item.seed, item.number, number)
    model = build(item, size * TEXELS)
    turned = number % TURNED_EVERY == TURNED_EVERY - 1
    aspect = ASPECTS[rng.integers(len(ASPECTS))]
    width, height = round(size * aspect[0]), round(size * aspect[1])
    azimuth = float(rng.uniform(-30, 30))
    elevation = float(rng.uniform(6, 30) if model.standing else rng.uniform(-10, 14))
    if turned:  # straight from behind and no higher than its middle: no side or top shows, which fronts show too
        azimuth = 180 + azimuth * 0.1
        elevation = float(rng.uniform(0, 2))
    roll = float(np.clip(rng.normal(0, 1.2), -3, 3))
    fill = float(rng.uniform(0.66, 0.86) if model.standing else rng.uniform(0.74, 0.92))
    spread = float(rng.uniform(20, 34))
    shift = (float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.2, 0.5)))
    setting = _setting(item, number, seed, model.standing, rng)
    camera = look(model, azimuth, elevation, roll, spread, fill, shift, (width, height))
    pixels, surface, uv = photograph(model, camera, setting, azimuth, rng)
    quality = int(rng.integers(88, 97))
    view = View(
        number, "back" if turned else "front", round(azimuth, 3), round(elevation, 3), round(roll, 3), round(fill, 3),
        setting.setting, quality, width, height,
    )  # fmt: skip
    return Render(item, view, pixels, surface, uv, see_parts(model, camera, surface, uv), model, camera)


def _setting(item: Product, number: int, seed: int, standing: bool, rng: np.random.Generator) -> Look:
    """Return the product's own photo shoot's setting, or, for a third of its photos, one of their own."""
    own = number > 0 and rng.random() < 0.35
    keys = (number,) if own else ()
    return look_of(stream(seed, "setting", item.seed, item.number, *keys), standing)


def render_set(
    out: Path,
    products: int,
    views: int,
    seed: int,
    size: int = 640,
    hard_negatives: bool = False,
    advance: Callable[[int], None] = lambda products: None,
) -> Path:
    """Write `views` photos of each of `products` products as out/<product_id>/<view>.jpg, and their truth.

    Returns out/truth.jsonl, one line a photo: its `path` relative to `out`, the product's fields, `view` and `parts`.
    With `hard_negatives` products come in groups of three: see `products.product`. Each core renders a product at a
    time; `advance` is told of each that is done.
    """
    out.mkdir(parents=True, exist_ok=True)
    truth = out / "truth.jsonl"
    truth.unlink(missing_ok=True)
    lines: list[str] = []
    render = partial(_rendered, out, views, seed, size, hard_negatives)
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for told in pool.map(render, range(products)):
            lines += [json.dumps(one) + "\n" for one in told]
            advance(1)
    unfinished = out / ".truth.jsonl"
    unfinished.write_text("".join(lines), encoding="utf-8", newline="\n")
    unfinished.replace(truth)  # last: a set that has it is whole
    return truth


def _rendered(out: Path, views: int, seed: int, size: int, hard_negatives: bool, index: int) -> list[dict[str, object]]:
    return list(render_product(out, product(seed, index, hard_negatives), views, seed, size))


def render_product(out: Path, item: Product, views: int, seed: int, size: int = 640) -> Iterator[dict[str, object]]:
    """Write `views` photos of a product as out/<product_id>/<view>.jpg, and yield the line of truth of each."""
    folder = out / item.product_id
    folder.mkdir(exist_ok=True)
    for number in range(views):
        render = render_view(item, number, seed, size)
        path = folder / f"{number:02d}.jpg"
        path.write_bytes(jpeg(render.pixels, render.view.quality))
        yield {"path": path.relative_to(out).as_posix(), **truth_of(render)}


def truth_of(render: Render) -> dict[str, object]:
    """Return what is written about a photo: JSON-able product, view and parts."""
    item = asdict(render.product)
    return {**item, "view": asdict(render.view), "parts": [asdict(part) for part in render.parts]}


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """Return pixels (H, W, 3) RGB as a JPEG."""
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"no JPEG of an image of shape {pixels.shape}")
    return data.tobytes()
