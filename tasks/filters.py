"""Filter sets: named, ordered rules, each a predicate in SQL that drops samples for a reason.

A predicate is one expression over one row of the view `samples`: true drops the sample; false, and null where a score
is missing, keep it. What is no such expression (a statement, a subquery, a function whose answer changes) is refused
before anything is done.
"""

from __future__ import annotations

import datetime
import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pyarrow as pa
from pydantic import Field, ValidationError

from schemas.errors import ProjectError
from schemas.ids import canonical, digest
from schemas.records import Record
from tasks import ledger
from tasks.lake import Lake

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]

NO_EXPRESSIONS = {  # kinds of DuckDB's syntax tree, and what they are called
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by its number",
    "DEFAULT": "DEFAULT",
}
CLOCKS = (  # what answers by time or place; some of it DuckDB takes for steady, some looks like a column
    "age", "version", "today", "now", "get_current_timestamp", "transaction_timestamp", "localtime", "localtimestamp",
    "user", "session_user", *(f"current_{what}" for what in (
        "date", "time", "timestamp", "localtime", "localtimestamp", "user", "role", "schema", "catalog", "database"
    )),
)  # fmt: skip
EMPTY_CLAUSES = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")


class FilterError(ProjectError):
    """A filter file that cannot be read, or a rule of it that cannot be applied."""


class Rule(Record):
    """What is dropped, and for which reason: a slug to count by. `words` are for people."""

    reason: Slug
    drop: Annotated[str, Field(min_length=1, max_length=10_000)]
    words: str = ""


class FilterSet(Record):
    """Rules in their order: a sample counts for the first that drops it."""

    name: Slug
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=200)]

    @property
    def digest(self) -> str:
        """Return the digest of all that it says."""
        return digest("filters", self.model_dump(mode="json"))

    def told(self) -> dict[str, Any]:
        """Return what a version's manifest says of it."""
        return {**self.model_dump(mode="json"), "digest": self.digest}


class Curation(Record):
    """What is in force since a curation: the fingerprint of the scores that count, and a filter set or none."""

    sequence: int
    score_fingerprint: str
    filters: FilterSet | None
    run_id: str


def read_filters(path: Path) -> FilterSet:
    """Read a filter file. Raises FilterError that names the file, the rule, what is wrong and the next step."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FilterError(
            f"filters {path}: {error.strerror}; name a filter file, or 'none' to lift those in force"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FilterError(f"filters {path}: it is no TOML ({error}); mend the file") from None
    if not told.get("rule"):
        raise FilterError(f"filters {path}: it has no rules; write [[rule]] with reason and drop, or apply 'none'")
    unknown = sorted(told.keys() - {"name", "rule"})
    if unknown:
        raise FilterError(f"filters {path}: it knows no '{unknown[0]}'; there are name and [[rule]]")
    try:
        found = FilterSet(name=told.get("name", ""), rules=told["rule"])
    except ValidationError as error:
        raise FilterError(f"filters {path}: {_explained(error)}; mend the file") from None
    if found.name == "none":
        raise FilterError(f"filters {path}: the name 'none' lifts what is in force; give it another name")
    twice = [reason for reason, times in Counter(rule.reason for rule in found.rules).items() if times > 1]
    if twice:
        numbers = [str(number) for number, rule in enumerate(found.rules, start=1) if rule.reason == twice[0]]
        raise FilterError(
            f"filters {path}: rules {' and '.join(numbers)} have one reason, '{twice[0]}'; give each its own, or join "
            "their predicates with OR"
        )
    return found


def check(connection: duckdb.DuckDBPyConnection, filters: FilterSet, where: str) -> None:
    """Raise FilterError where a rule is no boolean expression over a sample, or cannot be evaluated on those there are.

    `where` names the file, or what else the rules are from. `connection` has the view `samples`.
    """
    try:
        connection.execute("SELECT 1 FROM samples LIMIT 0")
    except duckdb.CatalogException:
        raise FilterError(
            f"{where}: the catalogue has no view `samples` yet; `omnirefiner rebuild` makes it anew"
        ) from None
    steady = _steady_functions(connection)
    for number, rule in enumerate(filters.rules, start=1):
        told = f"{where}, rule {number} ({rule.reason})"
        refused = _refused(connection, rule.drop, steady)
        if refused:
            raise FilterError(f"{told}: {refused}; write one expression over a row of `samples` that is true or false")
        try:
            (column,) = connection.execute(f"DESCRIBE SELECT (\n{rule.drop}\n) FROM samples").fetchall()
            if column[1] != "BOOLEAN":
                raise FilterError(f"{told}: it is {column[1]}, neither true nor false; compare it with something")
            connection.execute(f"SELECT count(*) FROM samples WHERE (\n{rule.drop}\n)").fetchall()
        except duckdb.Error as error:
            said = str(error).partition("\n\nLINE ")[0]
            raise FilterError(
                f'{told}: {" ".join(said.split())}; `omnirefiner query "DESCRIBE samples"` lists the columns'
            ) from None


def lay_verdicts(connection: duckdb.DuckDBPyConnection, filters: FilterSet, table: str) -> None:
    """Make a temporary table (quadruplet_id, r1, r2, ...) of what each rule of a checked set says, or null."""
    columns = ", ".join(f"(\n{rule.drop}\n) AS r{number}" for number, rule in enumerate(filters.rules, start=1))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT quadruplet_id, {columns} FROM samples")


def dropped(connection: duckdb.DuckDBPyConnection, filters: FilterSet) -> pa.Table:
    """Return what a set drops now: quadruplet_id, and the number of the first rule that drops it, by quadruplet_id.

    Raises FilterError as `check` does.
    """
    check(connection, filters, f"filter set '{filters.name}'")
    lay_verdicts(connection, filters, "verdicts_of_rules")
    sql = f"""SELECT quadruplet_id, ({first_rule(filters)})::INTEGER AS rule FROM verdicts_of_rules
              WHERE rule IS NOT NULL ORDER BY quadruplet_id"""
    return connection.sql(sql).to_arrow_table()


def first_rule(filters: FilterSet) -> str:
    """Return SQL over a table of verdicts: the number of the first rule that drops a sample, or null."""
    cases = " ".join(f"WHEN r{number} THEN {number}" for number in range(1, len(filters.rules) + 1))
    return f"CASE {cases} END"


# What is in force -----------------------------------------------------------------------------------------------------


def curation(lake: Lake) -> Curation | None:
    """Return the newest curation, if there was one. Raises LakeError where its file cannot be read."""
    rows = ledger.read_all(lake, "curations")
    if not rows:
        return None
    row = max(rows, key=lambda row: int(row["sequence"]))
    found = FilterSet(name=row["name"], rules=json.loads(row["rules"])) if row["name"] is not None else None
    return Curation(
        sequence=row["sequence"], score_fingerprint=row["score_fingerprint"], filters=found, run_id=row["run_id"]
    )


def in_force(lake: Lake) -> FilterSet | None:
    """Return the filter set that is in force, if one is."""
    newest = curation(lake)
    return newest.filters if newest else None


def put_in_force(lake: Lake, run_id: str, score_fingerprint: str, filters: FilterSet | None) -> None:
    """Record which scores count and which filter set is in force from now on, where that is new."""
    before = curation(lake)
    if before and (before.score_fingerprint, before.filters) == (score_fingerprint, filters):
        return
    sequence = 1 + (before.sequence if before else 0)
    row = {
        "sequence": sequence,
        "score_fingerprint": score_fingerprint,
        "name": filters and filters.name,
        "digest": filters and filters.digest,
        "rules": filters and canonical([rule.model_dump(mode="json") for rule in filters.rules]),
        "run_id": run_id,
        "at": datetime.datetime.now(datetime.UTC),
    }
    ledger.write(lake, "curations", run_id, f"{sequence:08d}", [row])


# What a predicate may be ----------------------------------------------------------------------------------------------


def _refused(connection: duckdb.DuckDBPyConnection, drop: str, steady: frozenset[str]) -> str | None:
    """Return why a text is no expression over one row, or None: it is parsed, not run."""
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT (\n{drop}\n)"]).fetchone() or ("{}",)
    tree = json.loads(text)
    if tree.get("error", True):
        return "it cannot be parsed: " + " ".join(str(tree.get("error_message")).split())
    statements = tree["statements"]
    node = statements[0]["node"]
    if len(statements) != 1 or node["type"] != "SELECT_NODE" or node["from_table"]["type"] != "EMPTY":
        return "it is more than an expression"
    if len(node["select_list"]) != 1 or node["cte_map"]["map"] or any(node[clause] for clause in EMPTY_CLAUSES):
        return "it is more than an expression"
    for part in _parts(node["select_list"][0]):
        kind = part.get("class")
        if kind in NO_EXPRESSIONS:
            return f"it has {NO_EXPRESSIONS[kind]}, and looks at more than one sample's own columns"
        if kind == "COLUMN_REF" and part["column_names"][-1].lower() in CLOCKS:
            return f"it asks for {part['column_names'][-1]}, which does not always answer the same"
        if kind == "FUNCTION" and part["function_name"] not in steady:
            return f"it calls {part['function_name']}(), which is none, or does not always answer the same"
    return None


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _parts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _parts(value)


def _steady_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the scalar functions of DuckDB whose answers depend on what they are given alone."""
    sql = """SELECT function_name FROM duckdb_functions() WHERE function_type = 'scalar'
             GROUP BY function_name HAVING bool_and(stability = 'CONSISTENT')"""
    found = (name for (name,) in connection.execute(sql).fetchall())
    return frozenset(
        name for name in found if not name.startswith("__") and name not in CLOCKS
    )  # those are DuckDB's own, and trust their callers


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    place = [f"rule {part + 1}" if isinstance(part, int) else str(part) for part in first["loc"] if part != "rules"]
    given = "" if isinstance(first["input"], dict | list) else f" (given: {first['input']!r})"
    return f"{', '.join(place)}: {first['msg']}{given}"
