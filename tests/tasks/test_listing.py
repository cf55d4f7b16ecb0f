import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import PhotosError
from tasks.listing import list_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    taken = ("mug/b.jpg", "mug/a.JPG", "box/blue/a.png", "top.webp")
    for name in (*taken, ".hidden/a.jpg", "mug/notes.txt", "mug/.a.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_a_folder_is_listed_in_order_with_its_folders_as_products(photos: Path) -> None:
    listed = list_photos(photos)
    assert [(one.path, one.product) for one in listed] == [
        ("box/blue/a.png", "box/blue"),
        ("mug/a.JPG", "mug"),
        ("mug/b.jpg", "mug"),
        ("top.webp", None),
    ]


def test_the_limit_takes_the_first(photos: Path) -> None:
    assert [one.path for one in list_photos(photos, 2)] == ["box/blue/a.png", "mug/a.JPG"]


def test_an_unchanged_file_keeps_its_id_and_a_changed_one_does_not(photos: Path) -> None:
    before = {one.path: one.item_id for one in list_photos(photos)}
    (photos / "mug/b.jpg").write_bytes(b"longer than it was")
    after = {one.path: one.item_id for one in list_photos(photos)}
    assert {path for path in before if before[path] != after[path]} == {"mug/b.jpg"}


ROWS = [
    {"path": "mug/b.jpg", "product": "m1", "licence": "CC0", "shop": "north"},
    {"path": "top.webp", "product": None, "licence": None, "shop": None},
]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_manifest_gives_product_licence_and_keeps_other_columns(photos: Path, suffix: str) -> None:
    manifest = photos / f"manifest.{suffix}"
    if suffix == "csv":
        manifest.write_text("path,product,licence,shop\nmug/b.jpg,m1,CC0,north\ntop.webp,,,\n")
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), manifest)
    else:
        manifest.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    listed = list_photos(manifest)
    assert [(one.path, one.product, one.licence, json.loads(one.extra)) for one in listed] == [
        ("mug/b.jpg", "m1", "CC0", {"shop": "north"}),
        ("top.webp", None, None, {}),
    ]
    assert listed[0].size == len("mug/b.jpg")


def test_a_listed_file_that_is_not_there_is_listed_for_intake_to_refuse(photos: Path) -> None:
    (photos / "m.csv").write_text("path\nnowhere.jpg\n")
    (one,) = list_photos(photos / "m.csv")
    assert one.size == -1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("m.csv", "file,product\na.jpg,x\n", "no column 'path'"),
        ("m.xlsx", "x", "ends in none of"),
        ("m.jsonl", "{not json\n", "cannot be read"),
        ("m.csv", "path,product\n,x\n", "every row needs a path"),
        ("m.csv", "path\n", "no photos there"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PhotosError) as refused:
        list_photos(tmp_path / name)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_to_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="no photos there"):
        list_photos(tmp_path)
    with pytest.raises(PhotosError, match="not found"):
        list_photos(tmp_path / "nowhere")
