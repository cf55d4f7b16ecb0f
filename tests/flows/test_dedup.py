"""Near-duplicates through the build and the command line: told of, drawn, and kept out of pairs."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from flows import cli
from flows.build import build
from schemas.settings import Settings
from tasks import catalog
from tasks.ingest import split_group
from tasks.ledger import Row
from tests.conftest import SMALL, Built

VIEWS = ("clusters", "duplicates", "compared", "keepers", "images", "sources", "all_sources", "pairs", "quadruplets")


def ask(built: Built, sql: str) -> list[Row]:
    with catalog.read(built.lake) as connection:
        return catalog.rows(connection, sql)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["omnirefiner", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


def test_a_mirrored_copy_in_another_products_folder(
    copied: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(copied.photos, photos)
    lake = str(copied.lake.root)
    first, second = sorted(path for path in photos.iterdir() if path.is_dir())[:2]
    with Image.open(first / "00.jpg") as image:
        larger = ImageOps.mirror(image).resize((2 * image.width, 2 * image.height))
    larger.save(second / "copy.jpg", quality=90)
    summary = build(str(photos), lake, assignments=SMALL)
    assert summary.funnel.duplicates == 1
    assert summary.funnel.images == copied.summary.funnel.images + 1

    # the larger one is kept, and no pair is made of the other; both products are in one split group
    copy, original = f"{second.name}/copy.jpg", f"{first.name}/00.jpg"
    aside = ask(copied, "SELECT image_id FROM clusters WHERE NOT keeper")[0]["image_id"]
    assert ask(copied, f"SELECT DISTINCT path FROM sources WHERE image_id = '{aside}'") == [{"path": original}]
    in_pairs = ask(copied, f"SELECT * FROM pairs WHERE '{aside}' IN (target_id, reference_id)")
    assert in_pairs == []
    groups = {split_group(product.name, Settings()) for product in (first, second)}
    strictest = next(group for group in ("benchmark", "validation", "train") if group in groups)
    sql = f"SELECT DISTINCT split_group FROM images WHERE product IN ('{first.name}', '{second.name}')"
    assert ask(copied, sql) == [{"split_group": strictest}]

    # it is told of and drawn
    run(monkeypatch, "dedup", "--lake", lake, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["clusters"] == told["counts"]["set_aside"] == told["counts"]["bridges"] == 1
    assert [member["path"] for member in told["largest"][0]["members"]] == [copy, original]
    run(monkeypatch, "dedup", "--lake", lake, "--sheet", str(tmp_path / "sheet.png"))
    assert copy in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height
    run(monkeypatch, "why", original, "--lake", lake, "--json")
    lines = {line["what"]: line for line in json.loads(capsys.readouterr().out)}
    assert lines["cluster"]["outcome"] == "set aside"
    assert (lines["same picture"]["outcome"], copy in lines["same picture"]["detail"]) == ("kept", True)

    # the ledger alone says all of it
    before = {view: ask(copied, f"SELECT * FROM {view} ORDER BY ALL") for view in VIEWS}
    copied.lake.snapshot.unlink()
    catalog.rebuild(copied.lake)
    assert {view: ask(copied, f"SELECT * FROM {view} ORDER BY ALL") for view in VIEWS} == before
    assert all(before.values())
    assert sum(step.items for step in build(str(photos), lake, assignments=SMALL).steps) == 0


def test_photos_of_one_product_from_several_places_are_not_one_picture(built: Built) -> None:
    assert ask(built, "SELECT * FROM duplicates") == []
    assert built.summary.funnel.duplicates == 0
    assert ask(built, "SELECT count(*) > 10 AS many FROM compared") == [{"many": True}]
