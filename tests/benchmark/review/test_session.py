"""Which items are drawn, in which order, and what is told of them."""

import pytest

from benchmark.review.session import Session
from benchmark.review.verdicts import Verdicts
from schemas.errors import ProjectError
from schemas.ids import digest
from schemas.reviews import Kind, Review, Said
from tasks import catalog, ledger
from tasks.catalog import QueryError
from tasks.ledger import Row
from tests.benchmark.review.conftest import Open
from tests.conftest import Built

KEEP, DROP = {"verdict": "keep"}, {"verdict": "drop", "reason": "words-wrong"}


def ids(session: Session) -> list[str]:
    return [row["item_id"] for row in session.drawn.rows]


def asked(built: Built, sql: str) -> list[Row]:
    with catalog.read(built.lake) as connection:
        return catalog.rows(connection, sql)


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        (Kind.PAIR, "SELECT pair_id AS id FROM pairs WHERE status = 'answered' ORDER BY 1"),
        (Kind.EDIT, "SELECT edit_id AS id FROM edits ORDER BY 1"),
        (Kind.SAMPLE, "SELECT quadruplet_id AS id FROM quadruplets ORDER BY 1"),
    ],
)
def test_items_are_drawn_by_their_digests(kind: Kind, sql: str, opened: Open, copied: Built) -> None:
    everything = [row["id"] for row in asked(copied, sql)]
    assert ids(opened(kind=kind, count=1000)) == everything
    assert ids(opened(kind=kind, count=3)) == everything[:3]


def test_a_condition_chooses_and_one_that_is_none_is_told(opened: Open) -> None:
    chosen = opened(where="category = 'text'", count=1000)
    assert {row["category"] for row in chosen.drawn.rows} == {"text"}
    with pytest.raises(QueryError, match="categroy"):
        opened(where="categroy = 'text'")
    with pytest.raises(ProjectError, match="no samples where false"):
        opened(where="false")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61, "\x1b[2J"])
def test_a_name_must_be_one(name: str, opened: Open) -> None:
    with pytest.raises(ProjectError, match="is no name"):
        opened(name)


def test_what_a_reviewer_has_not_judged_comes_first(opened: Open) -> None:
    first = opened("anna")
    first.judge(0, KEEP)
    first.judge(1, DROP)
    assert ids(opened("anna"))[:2] == ids(first)[2:]
    assert ids(opened("ben")) == ids(first)
    again = opened("anna", count=1000)
    assert ids(again)[-2:] == ids(first)[:2]
    assert (again.judged(), opened("ben").judged()) == (2, 0)
    first.judge(1, {"verdict": "undone"})
    assert ids(opened("anna"))[0] == ids(first)[1]


def test_items_that_few_others_judged_or_that_they_dispute_come_first(opened: Open) -> None:
    anna, ben = opened("anna"), opened("ben")
    everything = ids(opened("carl", count=1000))
    for number in range(3):
        anna.judge(number, KEEP)
    ben.judge(1, DROP)
    ben.judge(2, KEEP)
    assert ids(opened("carl", count=1000, order="unreviewed")) == [*everything[3:], *(everything[i] for i in (0, 1, 2))]
    disputed = ids(opened("carl", count=1000, order="disputed"))
    assert disputed[:3] == [everything[1], everything[2], everything[0]]
    assert disputed[3:] == everything[3:]


def test_others_are_told_only_beside_ones_own_verdict(opened: Open) -> None:
    anna, ben = opened("anna"), opened("ben")
    anna.judge(0, {**DROP, "note": "no such word"})
    assert ben.item(0)["others"] == {}
    assert ben.judge(0, KEEP)["others"] == {
        "anna": {"verdict": "drop", "reason": "words-wrong", "note": "no such word"}
    }
    assert ben.item(0)["mine"]["verdict"] == "keep"
    assert ben.judge(0, {"verdict": "undone"}) == {"mine": None, "others": {}}


@pytest.mark.parametrize(
    "said",
    [
        {}, {"verdict": "maybe"}, {"verdict": "drop"}, {"verdict": "drop", "reason": "viewpoint"},
        {"verdict": "keep", "reason": "unsafe"}, {"verdict": "keep", "note": "x" * 501},
        {"verdict": "keep", "note": "\0"},        {"verdict": "keep", "extra": 1}, {"verdict": "keep", "note": None},
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_not_written(said: dict[str, object], opened: Open, copied: Built) -> None:
    with pytest.raises(ValueError, match="Review"):
        opened().judge(0, said)
    assert ledger.files(copied.lake, "reviews") == []


def test_nobody_can_judge_for_another_or_of_another_thing(opened: Open, copied: Built) -> None:
    session = opened()
    session.judge(0, {**KEEP, "reviewer": "ben", "item_id": "x", "shown": "y", "kind": "pair"})
    (file,) = ledger.files(copied.lake, "reviews")
    (row,) = ledger.read(copied.lake, "reviews", file)
    assert (row["reviewer"], row["kind"], row["item_id"]) == ("anna", "sample", ids(session)[0])
    assert row["shown"] == session.drawn.rows[0]["restore_instruction"]


def test_the_newest_holds_by_count_whatever_the_clock_says(copied: Built) -> None:
    item = digest("item"), None

    def review(verdict: Said) -> Review:
        return Review(kind=Kind.PAIR, item_id=item[0], shown=None, reviewer="anna", verdict=verdict)

    here, there = Verdicts(copied.lake, Kind.PAIR), Verdicts(copied.lake, Kind.PAIR)
    here.record(review(Said.KEEP))
    there.look()
    there.record(review(Said.UNDONE))
    assert here.of(item)["anna"]["verdict"] == "keep"
    here.look()
    assert here.of(item) == {}
    other_kind = Verdicts(copied.lake, Kind.SAMPLE)
    assert other_kind.of(item) == {}
    names = [file.name.partition("-")[0] for file in ledger.files(copied.lake, "reviews")]
    assert names == ["00000001", "00000002"]


def test_a_verdict_holds_only_for_what_was_shown(opened: Open, copied: Built) -> None:
    session = opened(kind=Kind.EDIT)
    session.judge(0, KEEP)
    session.judge(1, KEEP)
    (file, _) = ledger.files(copied.lake, "reviews")
    (row,) = ledger.read(copied.lake, "reviews", file)
    ledger.write(
        copied.lake, "reviews", "00000009", "other", [{**row, "item_id": ids(session)[2], "shown": "repainted"}]
    )
    catalog.rebuild(copied.lake)
    assert {row["item_id"] for row in asked(copied, "SELECT item_id FROM reviewed")} == set(ids(session)[:2])
    assert opened(kind=Kind.EDIT, count=1000).judged() == 2
