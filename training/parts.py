"""Trains the part finder of the embedded engines (`tasks/engines/parts.py`) on rendered products.

    python -m training.parts [--photos FOLDER]

Each rendered photo says of every pixel what it shows. Drawn products teach nothing of fur and knitting, where a network
that knows prints alone sees prints: FOLDER, the product folders of the DreamBooth set, gives photos of which it is
known what they do not bear (`BARE`); the shipped weights were made with it. Takes 15 minutes on two cores.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor

from schemas.ids import stream
from schemas.records import Category, Pixels
from tasks.engines.efficientnet import Maps, feature_maps
from tasks.engines.foreground import Box, crop, foreground, object_box
from tasks.engines.load import one_thread_each
from tasks.engines.parts import CLASSES, COUNT, PLAIN, SEEN_AT, WEIGHTS, Weights, as_tensors, layers, logits
from tasks.render.photos import render_view
from tasks.render.products import product
from tasks.render.truth import Render, part_mask

SEED = 9001  # of the products, and of chance
PRODUCTS, SIZE = 500, 512
EPOCHS, BATCH, RATE, DECAY = 14, 8, 2e-3, 1e-3
TIMES = 5  # that a real photo is looked at, each time cropped and coloured otherwise
BARE_WEIGHT, BARE_BATCH = 0.5, 4
RARE = 0.4  # classes weigh by this power of one over their share
OVER = (
    Category.PATTERN,
    Category.OBJECT_DETAIL,
    Category.FACE,
    Category.LOGO,
    Category.TEXT,
)  # each hides those before

ANIMAL = (Category.TEXT, Category.LOGO, Category.PATTERN)
BARE: dict[str, tuple[Category, ...]] = {  # half of the products; docs/quality.md shows the others
    "dog": ANIMAL, "dog2": ANIMAL, "dog3": ANIMAL, "dog5": ANIMAL, "cat": ANIMAL, "duck_toy": ANIMAL,
    "poop_emoji": ANIMAL, "grey_sloth_plushie": ANIMAL, "vase": (Category.TEXT, Category.LOGO, Category.FACE),
    "colorful_sneaker": (Category.FACE,),
}  # fmt: skip

Shares = NDArray[np.float32]  # (h, w, 7) of each class in a cell, or (1, 1, 7): 1 for what a photo does not bear


@dataclass(frozen=True)
class Example:
    """A photo's feature maps, and its classes."""

    maps: Maps
    shares: Shares


def main() -> None:
    """Make the examples, train, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of the DreamBooth set's product folders")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go (default: where they are used)")
    arguments = parser.parse_args()
    folder = arguments.photos
    missing = [name for name in BARE if folder and not list((folder / name).glob("*.jpg"))]
    if missing:
        parser.error(f"--photos {folder}: no photos of {', '.join(missing)}; give the folder of the product folders")
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=one_thread_each) as pool:
        rendered = [one for some in pool.map(_rendered, range(PRODUCTS)) for one in some]
        bare = [one for some in pool.map(partial(_bare, folder), BARE) for one in some] if folder else []
    print(f"{len(rendered)} rendered photos, {len(bare)} looks at real ones")
    weights = train(rendered, bare)
    halves = {name: tensor.detach().half().contiguous() for name, tensor in weights.items()}
    save_file(halves, arguments.out)


def train(rendered: Sequence[Example], bare: Sequence[Example]) -> Weights:
    """Return weights that tell the classes of the rendered photos, and see in the bare ones what they do not bear."""
    torch.manual_seed(SEED)
    rng = stream(SEED, "order")
    weights: Weights = {}
    for name, (out, into, side) in layers().items():
        bound = (into * side * side) ** -0.5
        weights[f"{name}.weight"] = torch.empty(out, into, side, side).uniform_(-bound, bound).requires_grad_()
        weights[f"{name}.bias"] = torch.zeros(out).requires_grad_()
    shares = np.mean([one.shares.mean(axis=(0, 1)) for one in rendered], axis=0)
    rare = torch.from_numpy((np.maximum(shares, 1e-3) ** -RARE).astype(np.float32))
    rare = (rare / (rare * torch.from_numpy(shares)).sum())[None, :, None, None]
    optimizer = torch.optim.AdamW(weights.values(), RATE, weight_decay=DECAY)
    steps = EPOCHS * sum(1 for _ in _batches(rendered, BATCH, rng))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(EPOCHS):
        losses = []
        for batch in _batches(rendered, BATCH, rng):
            *maps, wanted = _stacked(batch, mirrored=bool(rng.random() < 0.5))
            loss = -(wanted * logits(weights, *maps).log_softmax(dim=1) * rare).sum(dim=1).mean()
            losses.append(loss.item())
            if bare:
                drawn = [bare[k] for k in rng.permutation(len(bare))[: 4 * BARE_BATCH]]
                *maps, absent = _stacked(next(_batches(drawn, BARE_BATCH, rng)), mirrored=False)
                seen = (logits(weights, *maps).softmax(dim=1) * absent).sum(dim=1)
                loss = loss - BARE_WEIGHT * (1 - seen).clamp(min=1e-4).log().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    return weights


def _rendered(number: int) -> list[Example]:
    """Return two photos of a product; every third product is shown from its back as well."""
    item = product(SEED, number)
    examples = []
    for view in (0, 5) if number % 3 == 0 else (0, 1):
        render = render_view(item, view, SEED, SIZE)
        classes = _classes(render)
        rng = stream(SEED, "look", number, view)
        on_product = (classes > 0).astype(np.float32) if rng.random() < 0.3 else foreground(render.pixels)
        examples.append(_example(render.pixels, _shifted(object_box(on_product), 0.08, rng), rng, classes))
    return examples


def _bare(folder: Path, name: str) -> list[Example]:
    """Return the looks at a real product."""
    absent = np.zeros((1, 1, COUNT), np.float32)
    absent[..., [CLASSES[category] for category in BARE[name]]] = 1
    examples = []
    for path in sorted((folder / name).glob("*.jpg")):
        with Image.open(path) as photo:
            pixels = np.asarray(ImageOps.contain(photo.convert("RGB"), (SIZE, SIZE)), dtype=np.uint8)
        box = object_box(foreground(pixels))
        for time in range(TIMES):
            rng = stream(SEED, "bare", name, path.name, time)
            looked = _example(pixels, _shifted(box, 0.1, rng), rng, None)
            examples.append(Example(looked.maps, absent))
    return examples


def _classes(render: Render) -> NDArray[np.uint8]:
    """Return the class of each pixel, (H, W)."""
    classes = np.where(render.surface >= 0, np.uint8(PLAIN), np.uint8(0))
    parts = {part.id: part for part in render.model.parts}
    for category in OVER:
        for seen in render.parts:
            if seen.category is category:
                classes[part_mask(parts[seen.id], render.surface, render.uv)] = CLASSES[category]
    return classes


def _example(pixels: Pixels, box: Box, rng: np.random.Generator, classes: NDArray[np.uint8] | None) -> Example:
    part = np.ascontiguousarray(crop(_coloured(pixels, rng), box))
    found = feature_maps(part, SEEN_AT)
    halved = [plane.astype(np.float16) for plane in (found.fine, found.middle, found.deep, found.attention)]
    maps = Maps(*halved)  # type: ignore[arg-type]  # half as precise: a thousand photos must fit into memory
    if classes is None:
        return Example(maps, np.zeros((1, 1, COUNT), np.float32))
    height, width = maps.fine.shape[:2]
    within = crop(classes, box)
    planes = [(within == k).astype(np.float32) for k in range(COUNT)]
    shares = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in planes]
    return Example(maps, np.stack(shares, axis=-1).astype(np.float32))


def _shifted(box: Box, reach: float, rng: np.random.Generator) -> Box:
    left, top, right, bottom = np.clip(np.array(box) + rng.uniform(-reach, reach, 4), 0, 1)
    return float(left), float(top), float(right), float(bottom)


def _coloured(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a photo in other light, other colours, less sharp, with grain."""
    light = np.clip((pixels / 255) ** rng.uniform(0.7, 1.4) * rng.uniform(0.8, 1.2), 0, 1)
    light = np.clip(light * rng.uniform(0.88, 1.12, 3), 0, 1)
    hsv = cv2.cvtColor(light.astype(np.float32), cv2.COLOR_RGB2HSV)
    if rng.random() < 0.5:
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(0, 360)) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.5, 1.3), 0, 1)
    coloured = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:
        coloured = cv2.GaussianBlur(coloured, (0, 0), rng.uniform(0.4, 1.2))
    grained = coloured + rng.normal(0, rng.uniform(0, 0.03), coloured.shape)
    return np.asarray(np.clip(grained, 0, 1) * 255, dtype=np.uint8)


def _batches(examples: Sequence[Example], size: int, rng: np.random.Generator) -> Iterator[list[Example]]:
    """Yield the examples in a drawn order, those of one shape together."""
    shapes: dict[tuple[int, ...], list[Example]] = {}
    for at in rng.permutation(len(examples)):
        shapes.setdefault(examples[at].maps.fine.shape, []).append(examples[at])
    batches = [some[start : start + size] for some in shapes.values() for start in range(0, len(some), size)]
    for at in rng.permutation(len(batches)):
        yield batches[at]


def _stacked(batch: list[Example], mirrored: bool) -> list[Tensor]:
    """Return fine, middle and deep maps and shares, (N, C, h, w) each."""
    shares = torch.from_numpy(np.stack([one.shares for one in batch])).permute(0, 3, 1, 2)
    tensors = [*as_tensors([one.maps for one in batch]), shares]
    return [tensor.flip(3) if mirrored else tensor for tensor in tensors]


if __name__ == "__main__":
    main()
