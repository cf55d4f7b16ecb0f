import datetime
import errno
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import PhotosError
from schemas.settings import Settings
from tasks.catalog import plan
from tasks.lake import Lake, create_lake
from tasks.listing import list_photos
from tasks.plan import open_items


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
        ("m.csv", "path\n", "m.csv: it has no rows"),
        ("m.csv", "", "m.csv: it has no rows"),
        ("m.jsonl", "\n\n", "m.jsonl: it has no rows"),
        ("m.parquet", "", "cannot be read"),
        ("m.csv", "path,path\na.jpg,b.jpg\n", "2 columns 'path'"),
        ("m.csv", "path,product\na.jpg\n", "line 2 has not as many cells"),
        ("m.csv", 'path\n"a.jpg', "unexpected end of data"),
        ("m.csv", "path\n" + "a" * 200_000, "field larger than"),
        ("m.jsonl", '{"path": 5}\n', "after row 0 (the path 5 is no text"),
        ("m.jsonl", '{"path": "a.jpg"}\n["b.jpg"]\n', "line 2 is no JSON object"),
        ("m.jsonl", '{"path": "a.jpg", "product": ["x"]}\n', "no name of a product"),
        ("m.jsonl", '{"path": "a.jpg", "x": ' + "[" * 100_000 + "}\n", "recursion"),
        ("m.jsonl", '{"path": "a.jpg", "x": ' + "9" * 5000 + "}\n", "4300 digits"),
        ("m.csv", "path,licence\na.jpg,CC0\na.jpg,none\n", "'a.jpg' is listed twice with different facts"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PhotosError) as refused:
        list_photos(tmp_path / name)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_manifest_that_is_no_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("path\nnäme.jpg\n".encode("latin-1"), "path\nname.jpg\n".encode("utf-16"), b"path\n\xff\xfe\x00"):
        (tmp_path / "m.csv").write_bytes(text)
        with pytest.raises(PhotosError, match="codec can't decode"):
            list_photos(tmp_path / "m.csv")


def test_a_manifest_of_bytes_or_a_cut_one_is_refused_in_one_line(tmp_path: Path) -> None:
    manifest = tmp_path / "m.parquet"
    pq.write_table(pa.table({"path": ["a.jpg"], "picture": [b"\xff\xd8"]}), manifest)
    with pytest.raises(PhotosError, match="column 'picture' has bytes"):
        list_photos(manifest)
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(PhotosError, match="cannot be read"):
        list_photos(manifest)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    for name, text in (("m.csv", "\ufeffpath\na.jpg\n"), ("m.jsonl", '\ufeff{"path": "a.jpg"}\n')):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert [one.path for one in list_photos(tmp_path / name)] == ["a.jpg"]


def test_odd_cells_of_a_manifest_are_kept_as_plain_json(tmp_path: Path) -> None:
    line = (
        '{"path": "a\\u0000\\ud800.jpg", "product": "\\ud800", "a": NaN, "b": [1e999, {"c": -Infinity}], "d": 1e30}\n'
    )
    (tmp_path / "m.jsonl").write_text(line)
    (one,) = list_photos(tmp_path / "m.jsonl")
    assert json.loads(one.extra, parse_constant=pytest.fail) == {"b": [None, {"c": None}], "d": 1e30}
    for text in (one.path, one.product or "", one.extra):
        text.encode()
    nested = {"path": ["a.jpg"], "when": [datetime.date(2026, 1, 2)], "of": [{"shop": "n", "rows": [1, None]}]}
    pq.write_table(pa.table(nested), tmp_path / "m.parquet")
    (one,) = list_photos(tmp_path / "m.parquet")
    assert json.loads(one.extra) == {"of": {"rows": [1, None], "shop": "n"}, "when": "2026-01-02"}


def test_a_product_has_one_spelling_wherever_it_is_named(tmp_path: Path) -> None:
    names = {"composed": "caf\u00e9", "decomposed": "cafe\u0301"}
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"x")
    assert {one.product for one in list_photos(tmp_path)} == {names["composed"]}
    assert {one.path.rpartition("/")[0] for one in list_photos(tmp_path)} == set(names.values())
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "product": [5.0, None]}), tmp_path / "m.parquet")
    assert [one.product for one in list_photos(tmp_path / "m.parquet")] == ["5", None]


def test_rows_that_say_the_same_count_once_and_a_photo_of_two_products_is_both(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,product\na.jpg,x\n./b/../a.jpg,x\na.jpg,y\n")
    assert sorted((one.path, one.product) for one in list_photos(tmp_path / "m.csv")) == [
        ("a.jpg", "x"),
        ("a.jpg", "y"),
    ]


@pytest.mark.parametrize("name", [f"x{number}.jpg" for number in range(8)])
def test_a_photo_of_two_products_is_refused_where_it_is_listed_twice_for_one(tmp_path: Path, name: str) -> None:
    """Whatever the digests of the rows: any of them may come between the two."""
    (tmp_path / "m.csv").write_text(f"path,product,licence\n{name},A,one\n{name},B,one\n{name},A,two\n")
    with pytest.raises(PhotosError, match="listed twice with different facts"):
        list_photos(tmp_path / "m.csv")


def test_a_lake_among_the_photos_is_passed_over_and_nothing_else_is(photos: Path) -> None:
    """Neither a product's own file of that name nor one that never ends hides its photos."""
    create_lake(photos / "lake")
    for folder, text in (("lake", None), ("hurt", "{"), ("table", "[]"), ("notes", '{"about": "Como"}')):
        (photos / folder).mkdir(exist_ok=True)
        (photos / folder / "a.jpg").write_bytes(b"x")
        if text is not None:
            (photos / folder / "lake.json").write_text(text)
    (photos / "hurt" / "ledger").mkdir()  # a lake whose marker is damaged
    os.mkfifo(photos / "mug" / "lake.json")
    assert {one.product for one in list_photos(photos)} == {"mug", "box/blue", "table", "notes", None}


def test_a_fifo_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.csv")
    with pytest.raises(PhotosError, match="no regular file"):
        list_photos(tmp_path / "m.csv")


def test_a_linked_folder_is_listed_where_it_stays_inside_and_named_where_not(tmp_path: Path) -> None:
    photos, other = tmp_path / "photos", tmp_path / "other"
    for folder in (photos / "mug", other):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
    (photos / "cup").symlink_to("mug")
    (photos / "jar").symlink_to("mug")
    (photos / "out").symlink_to(other)
    (photos / "mug" / "up").symlink_to("..")
    (photos / "round").symlink_to("round")
    (photos / "gone").symlink_to("nowhere")
    (photos / "of.jpg").mkdir()
    listed = {one.path: one for one in list_photos(photos)}
    assert {path: one.size for path, one in listed.items()} == {
        "mug/a.jpg": 1, "cup/a.jpg": 1, "jar": -1, "out": -1, "mug/up": -1, "cup/up": -1, "round": -1, "gone": -1,
        "of.jpg": -1,
    }  # fmt: skip
    assert listed["cup/a.jpg"].product == "cup"


def test_links_that_lead_to_each_other_come_to_an_end(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"x")
        for other in folders:
            (folder / f"to {other.name}").symlink_to(other)
    assert 12 <= len(list_photos(tmp_path)) < 1000


def test_what_may_not_be_read_is_listed_and_once_it_may_it_is_another() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "shut").mkdir()
        (root / "a.jpg").write_bytes(b"x")
        before = {one.path: one.item_id for one in list_photos(root)}
        (root / "names only").mkdir()
        for file in ("a.jpg", "lake.json"):
            (root / "names only" / file).write_bytes(b"x")
        (root / "names only").chmod(0o444)
        (root / "shut").chmod(0)
        (root / "a.jpg").chmod(0)
        is_root = os.getuid() == 0
        if is_root:  # who reads everything: as nobody it is as for others
            os.setresuid(65534, 65534, 0)
        try:
            found = {one.path: one for one in list_photos(root)}
        finally:
            if is_root:
                os.setresuid(0, 0, 0)
        for folder in ("shut", "names only"):
            (root / folder).chmod(0o755)
        assert {path: one.size for path, one in found.items()} == {"a.jpg": -1, "shut": -1, "names only/a.jpg": -1}
        assert found["a.jpg"].item_id != before["a.jpg"]


def test_many_rows_are_listed_and_planned(tmp_path: Path) -> None:
    many = 100_000
    paths = [f"product {number // 8}/{number}.jpg" for number in range(many)]
    table = pa.table({"path": paths, "product": [path.partition("/")[0] for path in paths], "shop": ["north"] * many})
    pq.write_table(table, tmp_path / "m.parquet")
    listed = list_photos(tmp_path / "m.parquet")
    with plan(Lake(tmp_path), {"ingest": "x"}, Settings()) as connection:
        items = open_items(connection, "ingest", listed)
    assert len(items) == len({one.item_id for one in listed}) == many


def test_nothing_to_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="no photos there"):
        list_photos(tmp_path)
    with pytest.raises(PhotosError, match="not found"):
        list_photos(tmp_path / "nowhere")


@pytest.mark.parametrize("call", ["scandir", "stat"])
def test_a_disk_in_trouble_stops_the_listing_and_unlists_nothing(
    photos: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)

    def failing(path: str, *rest: object, **more: object) -> object:
        if "mug" in str(path):
            raise OSError(errno.EIO, "Input/output error", path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(PhotosError, match=r"mug.*: Input/output error; mend that"):
        list_photos(photos)


def test_a_blind_listing_tells_no_product_and_keeps_it_as_a_label(photos: Path) -> None:
    told, blind = list_photos(photos), list_photos(photos, blind=True)
    assert [one.path for one in blind] == [one.path for one in told]
    assert {one.product for one in blind} == {None}
    assert [json.loads(one.extra).get("label") for one in blind] == [one.product for one in told]
    assert all((one.item_id == other.item_id) == (one.product is None) for one, other in zip(told, blind, strict=True))
