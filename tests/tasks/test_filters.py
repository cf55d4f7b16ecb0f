import datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import catalog, filters
from tasks.curate import effect
from tasks.filters import FilterError, FilterSet, Rule, check, in_force, put_in_force, read_filters
from tasks.lake import create_lake
from tests.conftest import Built

ROW = "quadruplet_id VARCHAR, sharpness FLOAT, psnr FLOAT, category VARCHAR, made TIMESTAMPTZ"


def sampled(*rows: tuple[str, float | None, float | None]) -> duckdb.DuckDBPyConnection:
    """Return a catalogue of these samples, with no filter set in force."""
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE samples ({ROW})")
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for row in rows:
        connection.execute("INSERT INTO samples VALUES (?, ?, ?, 'text', ?)", [*row, now])
    connection.execute("CREATE TABLE scores AS SELECT quadruplet_id FROM samples")
    connection.execute("CREATE TABLE dropped (quadruplet_id VARCHAR, rule INTEGER)")
    connection.execute("CREATE TABLE filter_rules (filters VARCHAR, rule INTEGER, reason VARCHAR)")
    return connection


def rules(*predicates: str) -> FilterSet:
    return FilterSet(name="mine", rules=tuple(Rule(reason=f"r{n}", drop=drop) for n, drop in enumerate(predicates, 1)))


THREE = (("a", 0.2, 30.0), ("b", 0.8, 10.0), ("c", None, None))


def test_the_first_rule_that_drops_a_sample_counts() -> None:
    found = effect(sampled(*THREE), rules("sharpness < 0.5", "psnr > 5", "category = 'face'"))
    assert [(rule.drops, rule.alone, rule.unknown, rule.left) for rule in found.rules] == [
        (1, 1, 1, 2), (1, 2, 1, 1), (0, 0, 0, 1),
    ]  # fmt: skip
    assert (found.samples, found.curated) == (3, 1)
    assert [rule.examples for rule in found.rules] == [["a"], ["b"], []]


def test_null_drops_nothing() -> None:
    connection = sampled(*THREE)
    for drop in ("sharpness < 0.5", "NOT (sharpness >= 0.5)", "NULL::BOOLEAN", "sharpness = NULL"):
        gone = filters.dropped(connection, rules(drop)).to_pydict()["quadruplet_id"]
        assert "c" not in gone
    assert filters.dropped(connection, rules("sharpness IS NULL")).to_pydict() == {"quadruplet_id": ["c"], "rule": [1]}


FIGURE = st.one_of(st.none(), st.integers(0, 9))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(FIGURE, FIGURE), max_size=12), st.integers(0, 9), st.integers(0, 9))
def test_the_funnel_adds_up_and_order_changes_no_sum(
    figures: list[tuple[int | None, int | None]], sharp: int, strong: int
) -> None:
    connection = sampled(*[(f"{n:02d}", *row) for n, row in enumerate(figures)])
    predicates = (f"sharpness < {sharp}", f"psnr > {strong}", "sharpness + psnr > 12")
    found, turned = effect(connection, rules(*predicates)), effect(connection, rules(*predicates[::-1]))
    assert sum(rule.drops for rule in found.rules) + found.curated == found.samples == len(figures)
    assert all(rule.drops <= rule.alone for rule in found.rules)
    kept = [
        (one, other)
        for one, other in figures
        if (one is None or one >= sharp)
        and (other is None or other <= strong)
        and (one is None or other is None or one + other <= 12)
    ]
    assert found.curated == turned.curated == len(kept)


WRITES = [
    "INSERT INTO samples VALUES ('x')",
    "COPY samples TO 'stolen.csv'",
    "ATTACH 'other.duckdb'",
    "true; DROP TABLE samples",
    "true;",
    "true) FROM samples; DELETE FROM samples; SELECT (true",
    "true) UNION SELECT (true",
    "true), (false",
    "true) FROM samples WHERE (true",
    "true) FROM read_csv('/etc/passwd') WHERE (true",
    "true) -- ",
    "true /*",
    "*/ true",
    "/* nothing */",
    "-- nothing",
]
LOOKS_BEYOND = [
    "quadruplet_id IN (SELECT quadruplet_id FROM scores)",
    "EXISTS (SELECT * FROM read_csv('/etc/passwd'))",
    "EXISTS (FROM read_text('/etc/passwd'))",
    "(SELECT true)",
    "row_number() OVER () > 3",
    "COLUMNS(*) IS NULL",
    "? > 3",
    "$1",
    "read_csv('/etc/passwd')",
    "getvariable('x') = 1",
    "random() < 0.5",
    "now() > made",
    "made < current_timestamp",
    "made < localtimestamp",
    "age(made) > INTERVAL 1 DAY",
    "made < current_localtimestamp()",
    "version() = 'x'",
    "nextval('s') > 1",
    "write_log('x')",
    "setseed(0.5) IS NULL",
    "__internal_json_copy_to_json(samples) IS NULL",
    "current_setting('threads') > 1",
    "count(*) > 1",
    "max(sharpness) > 1",
]
WRONG = ["sharpnes < 0.5", "sharpness", "1", "'yes'", "sharpness <", "SELEKT", "category < 3", "category::INTEGER = 1"]


@pytest.mark.parametrize("drop", WRITES + LOOKS_BEYOND + WRONG)
def test_only_an_expression_over_one_sample_gets_in(drop: str) -> None:
    connection = sampled(*THREE)
    before = connection.execute("FROM samples ORDER BY ALL").fetchall()
    with pytest.raises(FilterError, match=r"^filters mine\.toml, rule 2 \(r2\): .+; .+"):
        check(connection, rules("sharpness < 0.5", drop), "filters mine.toml")
    assert connection.execute("FROM samples ORDER BY ALL").fetchall() == before


@pytest.mark.parametrize(
    "drop",
    [
        "sharpness < 0.5 -- too soft",
        "/* soft */ sharpness < 0.5",
        "category IN ('text', 'face') AND (psnr BETWEEN 3 AND 5 OR sharpness IS NOT NULL)",
        "lower(category) LIKE 'te%' AND NOT starts_with(category, 'x')",
        "CASE WHEN psnr > 3 THEN true ELSE false END",
        "coalesce(sharpness, 1) < least(0.5, psnr)",
        "samples.sharpness < 0.5",
        "made < TIMESTAMPTZ '2026-06-01 00:00:00+00'",
    ],
)
def test_expressions_get_in(drop: str) -> None:
    check(sampled(*THREE), rules(drop), "filters mine.toml")


def test_an_unknown_column_is_told_with_the_nearest_one() -> None:
    with pytest.raises(FilterError, match=r'sharpnes.*"sharpness".*DESCRIBE samples'):
        check(sampled(*THREE), rules("sharpnes < 0.5"), "filters mine.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rules"),
        ("name = 'x'\nrule = []", "has no rules"),
        ("name = 'x'\n[[rule]]\nreason = 'a'\ndrop = 'true", "no TOML"),
        ("name = 'x'\n[[rule]]\nreason = 'a'", "rule 1, drop: Field required"),
        ("[[rule]]\nreason = 'a'\ndrop = 'true'", "name: "),
        ("name = 'x'\n[[rule]]\nreason = 'Not A Slug'\ndrop = 'true'", "rule 1, reason: .*Not A Slug"),
        ("name = 'x'\n[[rule]]\nreason = 'a'\ndrop = 'true'\nkeep = 1", "rule 1, keep: Extra inputs"),
        ("name = 'x'\nrules = 1\n[[rule]]\nreason = 'a'\ndrop = 'true'", "it knows no 'rules'"),
        ("name = 'none'\n[[rule]]\nreason = 'a'\ndrop = 'true'", "lifts what is in force"),
        ("name = 'x'\n" + "[[rule]]\nreason = 'a'\ndrop = 'true'\n" * 2, "rules 1 and 2 have one reason, 'a'"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_its_name(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(FilterError, match=f"filters {path}: .*{said}.*; "):
        read_filters(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FilterError, match=r"none\.toml: No such file.*; name a filter file"):
        read_filters(tmp_path / "none.toml")


def test_what_is_in_force_is_recorded_once_and_can_be_lifted(tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    assert in_force(lake) is None
    first, second = rules("sharpness < 0.5"), rules("sharpness < 0.6")
    for asked in (first, first, second, None, first):
        put_in_force(lake, "000001", "s1", asked)
        assert in_force(lake) == asked
    assert len(list((lake.root / "ledger" / "curations").iterdir())) == 4
    assert first.digest != second.digest


def test_the_shipped_sets_hold_on_a_real_catalogue(scored: Built) -> None:
    shipped = sorted((Path(__file__).parents[2] / "schemas" / "filters").glob("*.toml"))
    assert shipped
    with catalog.read(scored.lake) as connection:
        for path in shipped:
            found = read_filters(path)
            check(connection, found, f"filters {path}")
            assert found.name == path.stem
            assert effect(connection, found).curated > 0
