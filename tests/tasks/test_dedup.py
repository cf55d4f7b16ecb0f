"""Near-duplicates from photos to split groups, on a real lake, without the pairs that come after."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from schemas.settings import Dedup, Settings, load_settings
from tasks import catalog, ledger
from tasks.block import embed
from tasks.clusters import changed_clusters
from tasks.dedup import dedup, resemble
from tasks.fingerprints import fingerprints
from tasks.ingest import ingest, split_group
from tasks.lake import Lake, create_lake
from tasks.ledger import Row
from tasks.listing import changes, list_photos
from tasks.plan import open_items

SETTINGS = load_settings("embedded", ["intake.size=256", "intake.min_side=64"])
TRAIN, BENCHMARK = (
    next(name for number in range(999) if split_group(name := f"thing {number}", Settings()) == group)
    for group in ("train", "benchmark")
)

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": lambda image: image,
    "resized": lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
    "recoloured": lambda image: ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(1.2)).enhance(0.6),
    "cropped": lambda image: image.crop((image.width // 10, 0, image.width, image.height * 9 // 10)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


@pytest.fixture(scope="module")
def views(rendered: Path) -> list[Image.Image]:
    """Three views of one rendered product, then one of another."""
    products = sorted(path for path in rendered.iterdir() if path.is_dir())
    chosen = [*sorted(products[0].glob("*.jpg"))[:3], sorted(products[1].glob("*.jpg"))[0]]
    return [Image.open(path).convert("RGB") for path in chosen]


def save(image: Image.Image, path: Path, quality: int = 85) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)


def run(lake: Lake, photos: Path, settings: Settings = SETTINGS) -> dict[str, int]:
    """Do what a build does up to the clusters; return how many items each stage had."""
    run_id, prints = ledger.next_run_id(lake), fingerprints(settings)
    ledger.write(lake, "runs", run_id, "started", [{"run_id": run_id, "event": "started"}])
    listed = list_photos(photos)
    items: dict[str, int] = {}
    with catalog.plan(lake, prints, settings) as plan:
        before = catalog.rows(plan, "SELECT listing, path, product, item_id FROM listed")
        changed = [{**row, "run_id": run_id} for row in changes(listed, before, complete=True)]
        ledger.write(lake, "listed", run_id, "listed", changed)
        catalog.refresh(plan, lake, "listed")

        def known() -> list[Row]:
            return catalog.rows(plan, "SELECT image_id, hashes, vector FROM known JOIN embeddings USING (image_id)")

        stages: dict[str, Callable[[list[Row]], Iterator[Row]]] = {
            "ingest": lambda asked: ingest(lake, settings, asked),
            "embed": lambda asked: embed(lake, asked),
            "resemble": lambda asked: resemble([row["item_id"] for row in asked], known(), settings.dedup),
            "dedup": lambda asked: dedup(lake, asked),
        }
        for stage, answer in stages.items():
            asked = open_items(plan, stage, listed)
            items[stage] = len(asked)
            if asked:
                ledger.append(lake, stage, run_id, prints[stage], list(answer(asked)), 1)
                catalog.refresh(plan, lake, stage)
        changed = [{**row, "fingerprint": prints["clusters"], "run_id": run_id}
                   for row in changed_clusters(plan, settings.dedup.cap)]  # fmt: skip
        items["recorded"] = len(changed)
        if changed:
            ledger.write(lake, "clusters", run_id, "clusters", changed)
    return items


def ask(lake: Lake, sql: str, settings: Settings = SETTINGS) -> list[Row]:
    with catalog.plan(lake, fingerprints(settings), settings) as plan:
        return catalog.rows(plan, sql)


def clusters(lake: Lake) -> list[Row]:
    return ask(lake, """SELECT c.cluster_id, i.image_id, c.keeper, i.split_group, i.product FROM clusters c
                        JOIN images i USING (image_id) ORDER BY ALL""")  # fmt: skip


def groups(lake: Lake) -> dict[str, str]:
    """Return the split group of each listed path."""
    found = ask(lake, "SELECT path, i.split_group FROM sources JOIN images i USING (image_id)")
    return {row["path"]: row["split_group"] for row in found}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def test_copies_are_one_cluster_and_other_views_and_products_are_not_in_it(
    lake: Lake, views: Sequence[Image.Image], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for number, view in enumerate(views):
        save(view, photos / f"view {number}.jpg", 95)
    for name, copy in COPIES.items():
        save(copy(views[0]), photos / f"{name}.jpg", 60)
    run(lake, photos)
    found = ask(lake, "SELECT path, keeper FROM clusters JOIN sources USING (image_id)")
    assert {row["path"] for row in found} == {"view 0.jpg", *(f"{name}.jpg" for name in COPIES)}
    assert [row["path"] for row in found if row["keeper"]] != ["resized.jpg"]
    assert sum(row["keeper"] for row in found) == 1
    assert len(ask(lake, "SELECT * FROM keepers")) == len(views)
    assert set(run(lake, photos).values()) == {0}  # and nothing is done twice


def test_two_runs_and_another_order_give_the_clusters_of_one_run(views: Sequence[Image.Image], tmp_path: Path) -> None:
    pictures = {"0": views[0], "1": views[1], **{name: copy(views[0]) for name, copy in list(COPIES.items())[1:]}}
    names = list(pictures)
    orders = [[names], [names[::2], names[1::2]], [names[4:], names[:1], names[1:4]]]
    found: list[list[Row]] = []
    for number, order in enumerate(orders):
        photos, lake = tmp_path / f"photos {number}", create_lake(tmp_path / f"lake {number}")
        for together in order:
            for name in together:
                save(pictures[name], photos / f"{name}.jpg")
            run(lake, photos)
        found.append(clusters(lake))
    assert len(found[0]) == len(COPIES)
    assert found == [found[0]] * len(orders)


def test_a_later_photo_that_bridges_makes_the_training_side_yield(
    lake: Lake, views: Sequence[Image.Image], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    save(views[0], photos / TRAIN / "0.jpg")
    save(views[1], photos / TRAIN / "1.jpg")
    save(views[3], photos / BENCHMARK / "3.jpg")
    run(lake, photos)
    before = {f"{TRAIN}/0.jpg": "train", f"{TRAIN}/1.jpg": "train", f"{BENCHMARK}/3.jpg": "benchmark"}
    assert groups(lake) == before
    save(COPIES["mirrored"](views[0]), photos / BENCHMARK / "bridge.jpg")
    items = run(lake, photos)
    assert items["embed"] == 1  # a new photo costs its own work only
    assert set(groups(lake).values()) == {"benchmark"}  # that product's other photo with it
    everything = ask(lake, "SELECT DISTINCT split_group FROM all_images")
    assert everything == [{"split_group": "benchmark"}]  # what published samples are held against
    (photos / BENCHMARK / "bridge.jpg").unlink()
    run(lake, photos)
    assert set(groups(lake).values()) == {"benchmark"}  # what was once bridged stays so


def test_a_file_in_the_folders_of_two_products_bridges_them(
    lake: Lake, views: Sequence[Image.Image], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    save(views[0], photos / TRAIN / "0.jpg")
    save(views[1], photos / TRAIN / "1.jpg")
    save(views[0], photos / BENCHMARK / "0.jpg")
    run(lake, photos)
    assert set(groups(lake).values()) == {"benchmark"}
    assert len(ask(lake, "SELECT * FROM keepers")) == 2


def test_the_keeper_has_most_pixels_then_a_known_product_and_must_be_listed(
    lake: Lake, views: Sequence[Image.Image], tmp_path: Path
) -> None:
    listing = tmp_path / "photos.csv"
    names = {"small": COPIES["resized"](views[0]), "large": views[0], "known": COPIES["mirrored"](views[0])}
    for name, picture in names.items():
        save(picture, tmp_path / f"{name}.jpg")

    def kept(*listed: str) -> list[str]:
        products = [f"{name}.jpg,{'mug' if name in ('known', 'small') else ''}" for name in listed]
        listing.write_text("\n".join(["path,product", *products]) + "\n")
        run(lake, listing)
        return [row["path"] for row in ask(lake, "SELECT path FROM keepers JOIN sources USING (image_id)")]

    assert kept("small", "large") == ["large.jpg"]
    assert kept("small", "large", "known") == ["known.jpg"]
    assert kept("small", "large") == ["large.jpg"]
    assert kept("small") == ["small.jpg"]
    assert kept("small", "known") == ["known.jpg"]  # which comes back without any work


def test_a_photo_that_comes_back_was_compared_with_what_came_meanwhile(
    lake: Lake, views: Sequence[Image.Image], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    save(views[0], photos / "a.jpg")
    save(views[1], photos / "other.jpg")
    run(lake, photos)
    (photos / "a.jpg").rename(tmp_path / "a.jpg")
    save(COPIES["mirrored"](views[0]), photos / "b.jpg")
    run(lake, photos)
    assert len(ask(lake, "SELECT * FROM keepers")) == 2
    (tmp_path / "a.jpg").rename(photos / "a.jpg")
    assert run(lake, photos)["dedup"] == 0
    assert [row["keeper"] for row in clusters(lake)].count(False) == 1


def test_the_cap_and_the_cuts_ask_nothing_again(lake: Lake, views: Sequence[Image.Image], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name, copy in COPIES.items():
        save(copy(views[0]), photos / f"{name}.jpg")
    run(lake, photos)
    capped = SETTINGS.model_copy(update={"dedup": Dedup(cap=2)})
    items = run(lake, photos, capped)
    assert items.pop("recorded") > 0
    assert set(items.values()) == {0}
    sizes = ask(lake, "SELECT count(*) AS n FROM clusters GROUP BY cluster_id", capped)
    assert {row["n"] for row in sizes} == {2}
    assert len(clusters(lake)) == len(COPIES)  # going back is free
    strict = SETTINGS.model_copy(update={"dedup": Dedup(min_alike=1.0, min_exact=1.0, max_unlike=0.0)})
    assert set(list(run(lake, photos, strict).values())[:-1]) == {0}


def test_pictures_without_anything_in_them_are_not_one_picture(lake: Lake, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        blank = np.full((128, 128, 3), 240 + number, dtype=np.uint8)
        save(Image.fromarray(blank), photos / f"{number}.png")
    run(lake, photos)
    assert clusters(lake) == []


def test_a_hash_is_recorded_with_those_of_its_forms(lake: Lake, views: Sequence[Image.Image], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    views[0].save(buffer, "PNG")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(buffer.getvalue())
    run(lake, tmp_path / "photos")
    (row,) = ask(lake, "SELECT phash, hashes FROM taken")
    assert row["phash"] == row["hashes"][0]
    assert len(row["hashes"]) == 8
