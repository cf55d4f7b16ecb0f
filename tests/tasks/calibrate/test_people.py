"""Cuts by what people say: on verdicts made up so that the right cut is known."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import stream
from schemas.settings import Pair, Settings
from tasks import ledger
from tasks.calibrate.people import FEWEST, PROPOSED, Reviewed, halves, joined, people_tables, proposals
from tasks.catalog import lay_curation, plan
from tasks.lake import Lake, create_lake
from tasks.ledger import answered
from tests.tasks.test_catalog import NOW, source, take_in

NOW_JUDGED = {**NOW, "judge": "j1"}


def reviewed(count: int, products: int = 40) -> list[Reviewed]:
    """Items whose chance to be kept rises with the score: all from 0.8 on, half below."""
    found = []
    for number in range(count):
        random = stream(0, number)
        score = int(random.integers(1, 11)) / 10
        found.append(Reviewed(score, score >= 0.8 or random.random() < 0.5, f"product-{number % products}"))
    return found


def test_a_cut_is_tuned_on_one_half_and_reported_on_the_other() -> None:
    items = reviewed(600)
    first, second, whole = proposals(items, 0.98)
    for row, reported in ((first, halves(items)[1]), (second, halves(items)[0]), (whole, items)):
        assert 0.7 < row["cut"] <= 0.8
        accepted = [item for item in reported if item.score >= row["cut"]]
        assert row["accepted"] == len(accepted) == row["people keep"]
        assert row["kept in all"] == sum(item.right for item in reported)
    assert [row["reported on"] for row in (first, second)] == ["the other half"] * 2


def test_too_few_verdicts_give_no_number() -> None:
    (row,) = proposals(reviewed(40), 0.98)
    assert "too few verdicts" in row["tuned on"]
    assert row["cut"] is None
    kept_only = [Reviewed(0.9, True, f"product-{number}") for number in range(500)]
    (row,) = proposals(kept_only, 0.98)
    assert f"0 dropped in a half; {FEWEST[0]} and {FEWEST[1]}" in row["tuned on"]


def test_a_precision_out_of_reach_gives_no_cut() -> None:
    items = [Reviewed(0.9, number % 3 > 0, f"product-{number}") for number in range(400)]
    assert {row["reported on"] for row in proposals(items, 0.98)} == {"(no cut reaches it)"}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=12), st.randoms())
def test_what_is_linked_is_one_in_any_order(links: list[tuple[str, str]], random: object) -> None:
    found = joined(links)
    assert all(found[one] == found[other] for one, other in links)
    assert all(least <= thing for thing, least in found.items())
    assert joined([(other, one) for one, other in reversed(links)]) == found


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Sixty products of two photos, a pair each, judged by the machine and by two people."""
    lake = create_lake(tmp_path / "lake")
    sources, proposed, pairs, said = [], [], [], []
    for number in range(60):
        one, other = f"p{number:02d}a", f"p{number:02d}b"
        product = f"product-{number}"
        sources += [source(f"{product}/{name}.jpg", name, product, "train") for name in (one, other)]
        pair = {"pair_id": f"pair-{number:02d}", "target_id": one, "reference_id": other}
        proposed.append({**pair, "known_same": True, "similarity": 0.9})
        right = number % 4 > 0
        pairs.append(answered(pair["pair_id"], target_id=one, reference_id=other, same_product=0.9 if right else 0.3,
                              style=0.8, viewpoint=0.8, detail="as seen"))  # fmt: skip
        verdict, reason = ("keep", None) if right else ("drop", "another-product")
        said += [{"kind": "pair", "item_id": pair["pair_id"], "reviewer": reviewer, "sequence": number,
                  "verdict": verdict, "reason": reason} for reviewer in ("anna", "ben")]  # fmt: skip
    said.append({**said[0], "reviewer": "carl", "verdict": "keep", "reason": None})  # outvoted
    take_in(lake, "000001", sources)
    ledger.append(lake, "block", "000001", "b1", [answered("x", pairs=proposed)], 1)
    ledger.append(lake, "pair", "000001", "p1", pairs, 1)
    ledger.write(lake, "reviews", "00000001", "all", said)
    return lake


def tables_of(lake: Lake, settings: Settings) -> dict[str, list[dict[str, object]]]:
    with plan(lake, NOW_JUDGED, settings) as connection:
        lay_curation(connection, lake)
        return people_tables(connection, 0.98)


def test_pairs_that_people_judged_set_the_cut_of_what_they_dropped_them_for(lake: Lake) -> None:
    tables = tables_of(lake, Settings(pair=Pair(min_same_product=0.5, min_style=0.1, min_viewpoint=0.1)))
    by_cut = {row["cut"]: row for row in tables["pair.min_same_product by what people say"]}
    assert (by_cut[0.3]["accepted"], by_cut[0.3]["people keep"]) == (60, 45)
    assert (by_cut[0.5]["accepted"], by_cut[0.5]["people keep"], by_cut[0.5][""]) == (45, 45, "in force")
    style = tables["pair.min_style by what people say"]  # nothing was dropped for its style: those say nothing of it
    assert {row["people keep"] for row in style if row["accepted"]} == {45}
    proposed = [row for row in tables[PROPOSED] if row["setting"] == "pair.min_same_product"]
    assert [row["cut"] for row in proposed] == pytest.approx([0.6] * 3)
    (too_few,) = [row for row in tables[PROPOSED] if row["setting"] == "pair.min_style"]
    assert "too few verdicts" in str(too_few["tuned on"])
    assert "judge.min_score by what people say" not in tables


def test_samples_that_people_judged_set_the_judges_cut(lake: Lake) -> None:
    instructions, edits, restored, verdicts, said = [], [], [], [], []
    for number in range(60):
        one, other, pair = f"p{number:02d}a", f"p{number:02d}b", f"pair-{number:02d}"
        if number % 4 == 0:
            continue  # the pair is not accepted
        for ordinal in range(2):
            name = f"{number:02d}-{ordinal}"
            good = (number + ordinal) % 3 > 0
            sides = {"target_id": one, "reference_id": other}
            pictures = {"input_sha256": f"input-{name}", "mask_sha256": f"mask-{name}", "target_sha256": f"sha-{one}"}
            instructions.append(answered(pair, instruction_id=f"instruction-{name}", edit_id=f"edit-{name}", **sides))
            edits.append(answered(f"edit-{name}", target_id=one, **pictures))
            words = f"mend {name}"
            restored.append(answered(f"sample-{name}", pair_id=pair, instruction_id=f"instruction-{name}",
                                     edit_id=f"edit-{name}", sentence=words, reference_sha256=f"sha-{other}",
                                     **sides, **pictures))  # fmt: skip
            rewritten = f"{words} anew" if ordinal else None
            verdicts.append(
                answered(
                    f"verdict-{name}",
                    quadruplet_id=f"sample-{name}",
                    restoration=words,
                    worst="x",
                    rewritten=rewritten,
                    score=0.8 if good else 0.7,
                    evidence=json.dumps({}),
                )
            )
            for reviewer, shown in (("anna", rewritten or words), ("ben", "other words, of another time")):
                keep = good == (reviewer == "anna")
                said.append({"kind": "sample", "item_id": f"sample-{name}", "shown": shown, "reviewer": reviewer,
                             "verdict": "keep" if keep else "drop", "reason": None if keep else "words-wrong",
                             "sequence": number})  # fmt: skip
    for stage, fingerprint, found in (("instruct", "n1", instructions), ("edit", "d1", edits),
                                      ("restore", "r1", restored), ("judge", "j1", verdicts)):  # fmt: skip
        ledger.append(lake, stage, "000001", fingerprint, found, 1)
    ledger.write(lake, "reviews", "00000002", "samples", said)
    settings = Settings(pair=Pair(min_same_product=0.5, min_style=0.1, min_viewpoint=0.1))
    judging = settings.model_copy(update={"judge": settings.judge.model_copy(update={"engine": "vllm"})})
    tables = tables_of(lake, judging)
    by_cut = {row["cut"]: row for row in tables["judge.min_score by what people say"]}
    assert (by_cut[0.7]["accepted"], by_cut[0.7]["people keep"], by_cut[0.7][""]) == (90, 60, "in force")
    assert (by_cut[0.8]["accepted"], by_cut[0.8]["people keep"]) == (60, 60)
    proposed = [row for row in tables[PROPOSED] if row["setting"] == "judge.min_score"]
    assert [row["cut"] for row in proposed] == pytest.approx([0.75] * 3)
    assert [row["reported on"] for row in proposed] == ["the other half", "the other half", "itself: the one to set"]
