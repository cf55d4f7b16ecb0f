"""A folder and a manifest of what nobody should be given: each file is taken, or refused with its reason."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from schemas.ids import sha256
from schemas.settings import Settings
from tasks import ledger
from tasks.ingest import ingest
from tasks.lake import Lake, create_lake
from tasks.ledger import Row
from tasks.listing import list_photos
from tests.tasks.test_photos import encoded

SETTINGS = Settings.model_validate({"intake": {"size": 128, "min_side": 32}})
JPEG = encoded(Image.linear_gradient("L").convert("RGB"), "JPEG")
PNG = encoded(Image.linear_gradient("L").convert("RGB"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def taken(lake: Lake, photos: Path) -> dict[str, Row]:
    """Take in what is listed, write it to the ledger as a run does, and return the rows by path."""
    items = [one.row() for one in list_photos(photos)]
    rows = list(ingest(lake, SETTINGS, items))
    ledger.append(lake, "ingest", "000001", "f", rows, 1.0)
    assert [row["item_id"] for row in rows] == [item["item_id"] for item in items]
    return {row["path"]: row for row in rows}


def outcomes(rows: dict[str, Row]) -> dict[str, str]:
    return {path: str(row.get("reason", row["status"])) for path, row in rows.items()}


NAMES = [
    "with space.jpg",
    " leading and trailing .jpg",
    "dots..and...dots.jpg",
    "caf\u00e9.jpg",
    "cafe\u0301.jpg",
    "商品の写真.jpg",
    "new\nline.jpg",
    "tab\tand\x07bell.jpg",
    "quote'and\"quote.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "${HOME} `id` $(id) ; rm -rf.jpg",
    "back\\slash \\x41.jpg",
    "-rf.jpg",
    "a" * 251 + ".jpg",
    "CAPITALS.JPEG",
]


def test_a_photo_is_taken_whatever_its_name(lake: Lake, photos: Path) -> None:
    for name in NAMES:
        (photos / name).write_bytes(JPEG)
    rows = taken(lake, photos)
    assert set(rows) == set(NAMES)
    assert {row["image_id"] for row in rows.values()} == {sha256(JPEG)}


def test_a_photo_is_taken_whose_name_and_folder_are_no_utf_8(lake: Lake, photos: Path) -> None:
    try:
        os.mkdir(os.fsencode(photos) + b"/m\xfcg")  # noqa: PTH102 - bytes
    except OSError:
        pytest.skip("SKIPPED: this disk takes no such names")
    Path(os.fsdecode(os.fsencode(photos) + b"/m\xfcg/\xff\xfe.jpg")).write_bytes(JPEG)
    rows = taken(lake, photos)
    assert outcomes(rows) == {"m\\xfcg/\\xff\\xfe.jpg": "answered"}
    assert rows["m\\xfcg/\\xff\\xfe.jpg"]["product"] == "m\\xfcg"


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may not be long
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


ODD: list[tuple[str, Callable[[Path], object], str]] = [
    ("empty.jpg", lambda path: path.write_bytes(b""), "empty"),
    ("truncated.jpg", lambda path: path.write_bytes(JPEG[: len(JPEG) // 2]), "broken"),
    ("page.jpg", lambda path: path.write_bytes(b"<!doctype html>"), "not-an-image"),
    ("drawing.svg", lambda path: path.write_bytes(b"<svg/>"), "not-an-image"),
    ("phone.heic", lambda path: path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0"), "not-an-image"),
    ("raw.cr3", lambda path: path.write_bytes(b"\0\0\0\x18ftypcrx \0\0\0\0"), "not-an-image"),
    ("large.jpg", lambda path: path.write_bytes(bytes(50_000_001)), "too-large"),
    ("folder.jpg", lambda path: path.mkdir(), "not-a-file"),
    ("fifo.jpg", os.mkfifo, "not-a-file"),
    ("socket.jpg", socket_at, "not-a-file"),
    ("device.jpg", lambda path: path.symlink_to("/dev/zero"), "outside"),
    ("broken-link.jpg", lambda path: path.symlink_to("nowhere.jpg"), "unreadable"),
    ("loop.jpg", lambda path: path.symlink_to("loop.jpg"), "unreadable"),
    ("out.jpg", lambda path: path.symlink_to(path.parents[1] / "secret.jpg"), "outside"),
    ("linked folder", lambda path: path.symlink_to(path.parents[1] / "elsewhere"), "outside"),
    ("circle", lambda path: path.symlink_to("."), "not-a-file"),
    ("no disk", lambda path: path.symlink_to("/nowhere/mounted"), "unreadable"),
    ("wrong name.png", lambda path: path.write_bytes(JPEG), "answered"),
    ("zip.jpg", lambda path: path.write_bytes(JPEG + b"PK\x03\x04" + bytes(900)), "answered"),
]


def test_everything_odd_in_a_folder_has_its_row(lake: Lake, photos: Path) -> None:
    (photos.parent / "secret.jpg").write_bytes(JPEG)
    (photos.parent / "elsewhere").mkdir()
    for name, make, _ in ODD:
        make(photos / name)
    rows = taken(lake, photos)
    assert outcomes(rows) == {name: reason for name, _, reason in ODD}
    kept = rows["zip.jpg"]
    assert lake.image(kept["image_id"], "jpg").read_bytes() == (photos / "zip.jpg").read_bytes()
    for row in rows.values():
        assert row["status"] == "answered" or (row["detail"] and "\n" not in row["detail"])


def test_everything_odd_in_a_manifest_has_its_row(lake: Lake, photos: Path) -> None:
    (photos.parent / "secret.jpg").write_bytes(JPEG)
    (photos / "a.jpg").write_bytes(JPEG)
    (photos / "folder").mkdir()
    lines = {
        "a.jpg": "answered",
        "../secret.jpg": "outside",
        "/etc/passwd": "outside",
        "/dev/zero": "outside",
        "folder": "not-a-file",
        "folder/gone.jpg": "unreadable",
        "a.jpg/b.jpg": "unreadable",
        "nul\0.jpg": "unreadable",
        "b" * 5000: "unreadable",
        "c/" * 3000 + "c.jpg": "unreadable",
        "https://example.org/a.jpg": "unreadable",
    }
    (photos / "m.csv").write_text("path\n" + "".join(f"{line}\n" for line in lines))
    assert list(outcomes(taken(lake, photos / "m.csv")).values()).count("answered") == 1
    assert sorted(outcomes(taken(lake, photos / "m.csv")).values()) == sorted(lines.values())


def test_a_photo_that_is_gone_since_it_was_listed_is_asked_again_and_not_refused(lake: Lake, photos: Path) -> None:
    (photos / "a.jpg").write_bytes(JPEG)
    items = [one.row() for one in list_photos(photos)]
    (photos / "a.jpg").rename(photos / "away")
    (row,) = ingest(lake, SETTINGS, items)
    assert (row["status"], "though it was there" in row["detail"]) == ("failed", True)
    (photos / "away").rename(photos / "a.jpg")
    (row,) = ingest(lake, SETTINGS, items)
    assert row["status"] == "answered"


def test_a_link_to_a_photo_inside_is_that_photo(lake: Lake, photos: Path) -> None:
    (photos / "mug").mkdir()
    (photos / "mug" / "a.png").write_bytes(PNG)
    (photos / "cup").symlink_to("mug")
    (photos / "b.png").symlink_to("mug/a.png")
    assert outcomes(taken(lake, photos)) == dict.fromkeys(("mug/a.png", "cup/a.png", "b.png"), "answered")
