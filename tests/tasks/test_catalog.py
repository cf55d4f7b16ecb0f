import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from schemas.settings import Pair, Settings
from tasks import catalog, ledger
from tasks.catalog import KEPT, KEPT_OF_CURATION, QUESTIONS, QueryError, plan
from tasks.lake import Lake, create_lake
from tasks.ledger import Row, answered

NOW = {"ingest": "i1", "embed": "e1", "block": "b1", "pair": "p1", "instruct": "n1", "edit": "d1", "restore": "r1"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def source(path: str, image_id: str, product: str | None, group: str, **more: object) -> Row:
    return answered(f"source-{path}-{image_id}-{product}", root="/photos", path=path, image_id=image_id,
                    product=product, split_group=group, width=512, height=512, photo_sha256=f"sha-{image_id}",
                    **more)  # fmt: skip


def take_in(lake: Lake, run_id: str, sources: list[Row], gone: tuple[Row, ...] = ()) -> None:
    """Record that a folder lists these sources, and those no longer."""
    ledger.append(lake, "ingest", run_id, "i1", sources, 1)
    rows = [(row, row["item_id"]) for row in sources] + [(row, None) for row in gone]
    listed = [{"listing": "/photos", "path": row["path"], "product": row["product"], "item_id": item_id,
               "run_id": run_id} for row, item_id in rows]  # fmt: skip
    ledger.write(lake, "listed", run_id, "listed", listed)


def ask(lake: Lake, sql: str, now: Mapping[str, str] = NOW) -> list[Row]:
    with plan(lake, now, Settings(pair=Pair(min_same_product=0.5, min_style=0.1, min_viewpoint=0.1))) as connection:
        catalog.lay_curation(connection, lake)
        connection.execute(QUESTIONS)
        return catalog.ask(connection, sql)


def test_a_product_keeps_the_split_group_it_was_first_given(lake: Lake) -> None:
    take_in(lake, "000001", [source("mug/a.jpg", "a", "mug", "benchmark")])
    take_in(lake, "000002", [source("mug/b.jpg", "b", "mug", "train")])
    assert ask(lake, "SELECT DISTINCT split_group FROM images") == [{"split_group": "benchmark"}]


def test_an_image_of_two_products_falls_into_the_stricter_group(lake: Lake) -> None:
    both = [source("mug/a.jpg", "a", "mug", "train"), source("cup/a.jpg", "a", "cup", "benchmark")]
    take_in(lake, "000001", both)
    assert ask(lake, "SELECT image_id, split_group FROM images") == [{"image_id": "a", "split_group": "benchmark"}]


def test_a_changed_file_shows_what_it_holds_now(lake: Lake) -> None:
    take_in(lake, "000001", [source("mug/a.jpg", "old", "mug", "train")])
    take_in(lake, "000002", [source("mug/a.jpg", "new", "mug", "train")])
    assert ask(lake, "SELECT image_id FROM sources") == [{"image_id": "new"}]
    assert len(ask(lake, "SELECT image_id FROM all_sources")) == 2
    old = {"listing": "/photos", "path": "mug/a.jpg", "product": "mug", "item_id": "source-mug/a.jpg-old-mug"}
    ledger.write(lake, "listed", "000003", "listed", [{**old, "run_id": "000003"}])  # it went back to what it was
    assert ask(lake, "SELECT image_id FROM sources") == [{"image_id": "old"}]


def test_a_file_that_became_junk_no_longer_shows_what_it_was(lake: Lake) -> None:
    take_in(lake, "000001", [source("mug/a.jpg", "a", "mug", "train")])
    take_in(lake, "000002", [source("mug/a.jpg", "b", "mug", "train") | {"status": "refused", "reason": "broken"}])
    assert ask(lake, "SELECT image_id FROM sources") == []
    assert ask(lake, "SELECT reason, path FROM rejections") == [{"reason": "broken", "path": "mug/a.jpg"}]


def test_a_photo_that_moved_belongs_to_its_new_product(lake: Lake) -> None:
    take_in(lake, "000001", [source("cup/a.jpg", "a", "cup", "train")])
    take_in(lake, "000002", [source("mug/a.jpg", "a", "mug", "train")], (source("cup/a.jpg", "a", "cup", "train"),))
    assert ask(lake, "SELECT product FROM images") == [{"product": "mug"}]


def candidate(target: str, reference: str, known_same: bool = True) -> Row:
    return {"pair_id": f"{target}-{reference}", "target_id": target, "reference_id": reference,
            "known_same": known_same, "similarity": 0.9}  # fmt: skip


def test_candidates_are_of_one_split_group_and_one_product(lake: Lake) -> None:
    listed = [
        source("mug/a.jpg", "a", "mug", "train"),
        source("mug/b.jpg", "b", "mug", "train"),
        source("cup/c.jpg", "c", "cup", "train"),
        source("cup/d.jpg", "d", "cup", "train"),
        source("jar/d.jpg", "d", "jar", "benchmark"),
        source("e.jpg", "e", None, "train"),
        source("f.jpg", "f", None, "train"),
    ]
    take_in(lake, "000001", listed)
    proposed = [candidate("a", "b"), candidate("a", "c"), candidate("c", "d"), candidate("e", "f", known_same=False),
                candidate("a", "e", known_same=False)]  # fmt: skip
    ledger.append(lake, "block", "000001", "b1", [answered("x", pairs=proposed)], 1)
    assert {row["pair_id"] for row in ask(lake, "SELECT pair_id FROM candidates")} == {"a-b", "e-f"}


def judged(pair_id: str, same_product: float, viewpoint: float) -> Row:
    target, reference = pair_id.split("-")
    return answered(pair_id, target_id=target, reference_id=reference, same_product=same_product, style=0.9,
                    viewpoint=viewpoint, detail="as seen")  # fmt: skip


@pytest.fixture
def paired(lake: Lake) -> Lake:
    photos = [source(f"mug/{name}.jpg", name, "mug", "train") for name in "abc"]
    take_in(lake, "000001", photos)
    proposed = [candidate("a", "b"), candidate("a", "c"), candidate("b", "c")]
    ledger.append(lake, "block", "000001", "b1", [answered("x", pairs=proposed)], 1)
    return lake


def test_cuts_accept_pairs_and_name_what_a_refused_one_lacks(paired: Lake) -> None:
    found = [judged("a-b", 0.9, 0.5), judged("a-c", 0.4, 0.5), judged("b-c", 0.9, 0.01)]
    ledger.append(paired, "pair", "000001", "p1", found, 1)
    sql = "SELECT pair_id, accepted, refused_for FROM pairs ORDER BY pair_id"
    assert [tuple(row.values()) for row in ask(paired, sql)] == [
        ("a-b", True, None),
        ("a-c", False, "another-product"),
        ("b-c", False, "viewpoint"),
    ]
    sql = "SELECT item_id, stage, reason FROM rejections ORDER BY item_id"
    assert [tuple(row.values()) for row in ask(paired, sql)] == [
        ("a-c", "pair", "another-product"),
        ("b-c", "pair", "viewpoint"),
    ]


def test_old_and_new_answers_live_side_by_side_and_going_back_shows_the_old(paired: Lake) -> None:
    ledger.append(paired, "pair", "000001", "p1", [judged("a-b", 0.9, 0.5)], 1)
    ledger.append(paired, "pair", "000002", "p2", [judged("a-b", 0.1, 0.5)], 1)
    sql = "SELECT accepted FROM pairs"
    assert ask(paired, sql) == [{"accepted": True}]
    assert ask(paired, sql, {**NOW, "pair": "p2"}) == [{"accepted": False}]
    assert len(ask(paired, "SELECT * FROM all_pairs")) == 2


def test_a_failure_is_open_until_it_is_answered(paired: Lake) -> None:
    failed = {"item_id": "a-b", "status": "failed", "reason": "engine", "detail": "down"}
    ledger.append(paired, "pair", "000001", "p1", [failed], 1)
    assert ask(paired, "SELECT item_id, stage FROM failures") == [{"item_id": "a-b", "stage": "pair"}]
    assert ask(paired, "SELECT * FROM rejections") == []
    ledger.append(paired, "pair", "000002", "p1", [judged("a-b", 0.9, 0.5)], 1)
    assert ask(paired, "SELECT * FROM failures") == []


def test_a_snapshot_and_a_plan_of_a_run_keep_what_most_questions_go_through(paired: Lake) -> None:
    settings = Settings().model_dump_json()
    run = {"run_id": "000001", "fingerprints": json.dumps(NOW), "settings": settings}
    ledger.write(paired, "runs", "000001", "started", [{**run, "event": "started"}])
    catalog.rebuild(paired)
    with catalog.read(paired) as snapshot, catalog.plan_of_run(paired, run) as planned:
        for connection in (snapshot, planned):
            found = {row["table_name"] for row in catalog.ask(connection, "SELECT table_name FROM duckdb_tables()")}
            assert found >= {*KEPT, *KEPT_OF_CURATION}


def test_a_column_that_the_ledger_does_not_know_is_refused(lake: Lake) -> None:
    with pytest.raises(KeyError, match="smae_product"):
        ledger.append(lake, "pair", "000001", "p1", [answered("a-b", smae_product=1.0)], 1)


def test_a_wrong_question_is_told_in_one_error(lake: Lake) -> None:
    with pytest.raises(QueryError, match="no_such_view"):
        ask(lake, "SELECT * FROM no_such_view")


def test_runs_are_counted_whatever_the_clock_says(lake: Lake) -> None:
    assert ledger.next_run_id(lake) == "000001"
    ledger.write(lake, "runs", "000007", "started", [{"run_id": "000007", "event": "started"}])
    assert ledger.next_run_id(lake) == "000008"
    newest = ledger.newest_run(lake)
    assert newest is not None
    assert newest["run_id"] == "000007"


def said(lake: Lake, sequence: int, reviewer: str, item_id: str, verdict: str, reason: str | None = None,
         shown: str | None = None) -> None:  # fmt: skip
    row = {"kind": "pair", "item_id": item_id, "shown": shown, "reviewer": reviewer, "verdict": verdict,
           "reason": reason, "sequence": sequence}  # fmt: skip
    ledger.write(lake, "reviews", f"{sequence:08d}", f"{reviewer}-{item_id}", [row])


def reviewed(lake: Lake) -> list[tuple[object, ...]]:
    found = ask(lake, "SELECT item_id, keeps, drops, reason FROM reviewed ORDER BY item_id")
    return [tuple(row.values()) for row in found]


@pytest.fixture
def judged_pairs(paired: Lake) -> Lake:
    found = [judged(name, 0.9, 0.5) for name in ("a-b", "a-c", "b-c")]
    ledger.append(paired, "pair", "000001", "p1", found, 1)
    return paired


def test_a_reviewers_newest_verdict_holds_by_count_and_what_is_undone_was_not_said(judged_pairs: Lake) -> None:
    assert reviewed(judged_pairs) == []
    said(judged_pairs, 1, "anna", "a-b", "drop", "style")
    said(judged_pairs, 1, "ben", "a-b", "keep")
    said(judged_pairs, 2, "anna", "a-c", "keep")
    assert reviewed(judged_pairs) == [("a-b", 1, 1, "style"), ("a-c", 1, 0, None)]
    said(judged_pairs, 3, "anna", "a-b", "keep")
    said(judged_pairs, 4, "anna", "a-c", "undone")
    assert reviewed(judged_pairs) == [("a-b", 2, 0, None)]
    assert len(ask(judged_pairs, "SELECT * FROM ledger_reviews")) == 5


def test_the_reason_is_that_of_most_drops(judged_pairs: Lake) -> None:
    for reviewer, reason in (
        ("anna", "viewpoint"),
        ("ben", "style"),
        ("carl", "viewpoint"),
        ("dora", "another-product"),
    ):
        said(judged_pairs, 1, reviewer, "b-c", "drop", reason)
    assert reviewed(judged_pairs) == [("b-c", 0, 4, "viewpoint")]


def test_a_verdict_holds_for_what_was_shown_and_is_there(judged_pairs: Lake) -> None:
    said(judged_pairs, 1, "anna", "a-b", "keep", shown="another picture")
    said(judged_pairs, 2, "anna", "x-y", "keep")
    assert reviewed(judged_pairs) == []
    assert len(ask(judged_pairs, "SELECT * FROM all_reviews")) == 2
