"""How well near-duplicates are told: copies of photos, made on purpose, among the photos themselves.

For each kind of copy, the photos and one such copy of each are compared as a build compares them, by the shipped
settings. Recall is the share of copies that are linked with their own photo; precision the share of links that join
two copies of one photo. Photos that were found to be one picture already (in the set itself) count as one.

python -m benchmark.duplicates --help
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from font_roboto import Roboto
from PIL import Image, ImageDraw, ImageEnhance, ImageFont
from rich.console import Console
from rich.table import Table

from schemas.ids import sha256, stream
from schemas.records import Photo
from schemas.settings import Settings
from tasks.block import vector_of
from tasks.calibrate.pairs import share
from tasks.clusters import clusters_of
from tasks.codecs import decode
from tasks.decoding import decode_apart
from tasks.dedup import resemble
from tasks.engines.embed import embed
from tasks.engines.load import one_thread_each
from tasks.engines.overlay import overlay
from tasks.ledger import Row
from tasks.render.photos import render_set

PRODUCTS = Path(__file__).parents[2] / "shared" / "data" / "products"
BARS = {"recompressed": 0.95, "resized": 0.95, "recoloured": 0.95, "cropped by 10%": 0.95, "cropped by 30%": 0.9,
        "mirrored": 0.95, "turned by 90 degrees": 0.95, "turned by 5 degrees": 0.9, "watermarked": 0.8}  # fmt: skip

Copy = Callable[[Image.Image, np.random.Generator], Image.Image]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class One:
    """A photo or a copy of it: its row as the stages know it, its pixels, the photo it shows and that one's product."""

    row: Row
    photo: Photo
    original: str
    product: str


@app.command()
def main(
    photos: Annotated[
        Path | None, typer.Option(help="A folder a product; by default real photos, else rendered.")
    ] = None,
    each: Annotated[int, typer.Option(min=1, help="At most so many photos a product.")] = 99,
    kinds: Annotated[list[str] | None, typer.Option(help="Only these kinds of copies.")] = None,
) -> None:
    """Measure precision and recall by kind of copy, and name every link that joins two different photos."""
    one_thread_each()
    with TemporaryDirectory() as folder:
        root = photos or (PRODUCTS if PRODUCTS.is_dir() else _rendered(Path(folder)))
        chosen = [path for product in sorted(root.iterdir()) if product.is_dir()
                  for path in sorted(product.glob("*.jpg"))[:each]]  # fmt: skip
        originals = [_one(path.read_bytes(), f"{path.parent.name}/{path.name}") for path in chosen]
    links = list(_links(originals))
    same = clusters_of([_link(one, other) for one, other, *_ in links], cap=len(originals))
    print(f"{len(originals)} photos of {len({one.product for one in originals})} products; one picture already:")
    _name(links)
    table = Table(*("copy", "bar", "copies", "recall", "95%", "links", "precision", "other product", "other photo"))
    for kind, copy in COPIES.items():
        if kinds and kind not in kinds:
            continue
        copies = [_copied(one, path, kind, copy) for one, path in zip(originals, chosen, strict=True)]
        shown = {one.row["image_id"]: same.get(one.row["image_id"], one.original) for one in originals}
        shown |= {copied.row["image_id"]: shown[one.row["image_id"]]
                  for one, copied in zip(originals, copies, strict=True)}  # fmt: skip
        found = list(_links([*originals, *copies]))
        joined = {_key(one, other) for one, other, *_ in found}
        hits = sum(_key(one, copied) in joined for one, copied in zip(originals, copies, strict=True))
        false = [link for link in found if shown[link[0].row["image_id"]] != shown[link[1].row["image_id"]]]
        products = Counter(one.product == other.product for one, other, *_ in false)
        recall = share(hits, len(copies))
        assert recall is not None
        table.add_row(kind, f"{BARS[kind]:.2f}", str(len(copies)), f"{recall[0]:.3f}",
                      f"{recall[1]:.3f}-{recall[2]:.3f}", str(len(found)),
                      f"{1 - len(false) / max(1, len(found)):.3f}", str(products[False]),
                      str(products[True]))  # fmt: skip
        _name(false)
        _missed(kind, [pair for pair in zip(originals, copies, strict=True) if _key(*pair) not in joined])
    Console(width=120).print(table)


Link = tuple[One, One, Row, dict[str, float]]


def _links(all_of_them: Sequence[One]) -> Iterator[Link]:
    """Yield which of the photos are one picture, as a build finds it by the shipped settings."""
    cuts, known = Settings().dedup, {one.row["image_id"]: one for one in all_of_them}
    for answer in resemble(list(known), [one.row for one in known.values()], cuts):
        for pair in answer["pairs"]:
            one, other = known[pair["one_id"]], known[pair["other_id"]]
            laid = overlay(one.photo, other.photo, pair["form"])
            if (
                laid.overlap >= cuts.min_overlap
                and (laid.alike >= cuts.min_alike or laid.exact >= cuts.min_exact)
                and laid.unlike <= cuts.max_unlike
            ):
                yield one, other, pair, vars(laid)


def _link(one: One, other: One) -> Row:
    return {"one_id": one.row["image_id"], "other_id": other.row["image_id"], "strength": 1.0, "similarity": 1.0}


def _key(one: One, other: One) -> frozenset[str]:
    return frozenset((one.row["image_id"], other.row["image_id"]))


def _name(links: Sequence[Link]) -> None:
    for one, other, pair, laid in links:
        shares = ", ".join(f"{name} {value:.2f}" for name, value in laid.items())
        print(
            f"  {one.original} and {other.original}: {pair['distance']} bits, cosine {pair['similarity']:.2f}, {shares}"
        )


def _missed(kind: str, pairs: Sequence[tuple[One, One]]) -> None:
    for one, copied in pairs:
        cosine = float(vector_of(one.row) @ vector_of(copied.row))
        bits = min((form ^ one.row["hashes"][0]).bit_count() for form in copied.row["hashes"])
        shares = ", ".join(f"{name} {value:.2f}" for name, value in vars(overlay(copied.photo, one.photo, 0)).items())
        print(f"  missed, {kind}: {one.original}: {bits} bits, cosine {cosine:.2f}, {shares}")


def _one(data: bytes, original: str) -> One:
    taken = decode_apart(data, Settings().intake.model_copy(update={"min_side": 128}))
    pixels, image_id = decode(taken.webp), sha256(data)
    vector = embed([pixels])[0].astype("<f2").tobytes()
    row = {"image_id": image_id, "hashes": taken.hashes, "vector": vector}
    return One(row, Photo(image_id, pixels), original, original.partition("/")[0])


def _copied(one: One, path: Path, kind: str, copy: Copy) -> One:
    draw = stream(0, one.original, kind)
    with Image.open(path) as image:
        copied = copy(image.convert("RGB"), draw)
    buffer = io.BytesIO()
    copied.save(buffer, "JPEG", quality=int(draw.integers(25, 60)) if kind == "recompressed" else 90)
    return _one(buffer.getvalue(), one.original)


def _rendered(folder: Path) -> Path:
    render_set(folder / "photos", products=20, views=5, seed=11, size=512)
    return folder / "photos"


def _resized(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    scale = draw.uniform(0.4, 0.75)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _recoloured(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(draw.uniform(0.75, 1.3))
    image = ImageEnhance.Contrast(image).enhance(draw.uniform(0.75, 1.3))
    image = ImageEnhance.Color(image).enhance(draw.uniform(0.4, 1.6))
    gains = draw.uniform(0.85, 1.15, 3)
    return Image.fromarray(np.clip(np.asarray(image) * gains, 0, 255).astype(np.uint8))


def _cropped(part: float) -> Copy:
    """Return what cuts a part off each side's length, at a place drawn."""

    def copy(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        width, height = round(image.width * (1 - part)), round(image.height * (1 - part))
        left, top = (int(draw.integers(0, room + 1)) for room in (image.width - width, image.height - height))
        return image.crop((left, top, left + width, top + height))

    return copy


def _turned(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
    return image.transpose(turns[int(draw.integers(2))])


def _turned_a_little(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    return image.rotate(float(draw.choice([-5, 5])), Image.Resampling.BICUBIC, fillcolor="white")


def _watermarked(image: Image.Image, _draw: np.random.Generator) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    font, pen = ImageFont.truetype(Roboto, image.width // 9), ImageDraw.Draw(layer)
    for line in range(3):
        at = (image.width * (0.05 + 0.2 * line), image.height * (0.12 + 0.3 * line))
        pen.text(at, "SAMPLE PHOTO", fill=(255, 255, 255, 120), font=font, stroke_width=2, stroke_fill=(0, 0, 0, 90))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


COPIES: dict[str, Copy] = {
    "recompressed": lambda image, _draw: image,
    "resized": _resized,
    "recoloured": _recoloured,
    "cropped by 10%": _cropped(0.1),
    "cropped by 30%": _cropped(0.3),
    "mirrored": lambda image, _draw: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90 degrees": _turned,
    "turned by 5 degrees": _turned_a_little,
    "watermarked": _watermarked,
}


if __name__ == "__main__":
    app()
