from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from schemas.ids import sha256
from schemas.settings import Settings, Splits
from tasks.codecs import load_photo
from tasks.ingest import ingest, split_group
from tasks.lake import Lake, create_lake
from tasks.ledger import Row
from tasks.listing import list_photos

SETTINGS = Settings.model_validate({"intake": {"size": 128, "min_side": 32, "max_megabytes": 0.05}})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "a mug's “photos”\n<b>"
    folder.mkdir(parents=True)
    Image.linear_gradient("L").convert("RGB").save(folder / "näme 1.png")
    return tmp_path / "photos"


def taken(lake: Lake, photos: Path) -> dict[str, Row]:
    items = [one.row() for one in list_photos(photos)]
    return {row["path"].rpartition("/")[2]: row for row in ingest(lake, SETTINGS, items)}


def test_a_photo_is_kept_by_its_digest_with_its_bucketed_copy(lake: Lake, photos: Path) -> None:
    (file,) = photos.glob("*/*.png")
    row = taken(lake, photos)["näme 1.png"]
    assert row["status"] == "answered"
    assert row["image_id"] == sha256(file.read_bytes())
    assert lake.image(row["image_id"], "png").read_bytes() == file.read_bytes()
    assert load_photo(lake, row["photo_sha256"]).shape == (row["height"], row["width"], 3) == (128, 128, 3)
    assert (row["source_width"], row["source_height"]) == (256, 256)
    assert row["product"] == file.parent.name


def test_what_cannot_be_taken_becomes_a_refusal(lake: Lake, photos: Path, tmp_path: Path) -> None:
    (photos / "large.jpg").write_bytes(bytes(60_000))
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "secret.png").write_bytes(next(photos.glob("*/*.png")).read_bytes())
    (photos / "out.png").symlink_to(tmp_path / "secret.png")
    (photos / "in.png").symlink_to(next(photos.glob("*/*.png")))
    reasons = {name: row.get("reason") for name, row in taken(lake, photos).items()}
    assert reasons == {
        "large.jpg": "too-large",
        "gone.jpg": "unreadable",
        "out.png": "outside",
        "in.png": None,
        "näme 1.png": None,
    }


@given(st.text(min_size=1, max_size=20))
def test_a_product_has_one_split_group_whatever_comes_after(product: str) -> None:
    assert split_group(product, SETTINGS) == split_group(product, SETTINGS) in ("train", "validation", "benchmark")


def test_products_fall_into_groups_by_the_shares() -> None:
    settings = Settings(splits=Splits(train=0.5, validation=0.2, benchmark=0.3))
    counts = Counter(split_group(f"product {number}", settings) for number in range(5000))
    assert abs(counts["train"] / 5000 - 0.5) < 0.03
    assert abs(counts["validation"] / 5000 - 0.2) < 0.03
    assert abs(counts["benchmark"] / 5000 - 0.3) < 0.03
    assert split_group(None, settings) == "train"
