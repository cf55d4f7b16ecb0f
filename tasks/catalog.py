"""The catalogue: one set of views over the ledger, for a build's plan and, copied, for everybody's questions."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from schemas.errors import LakeError, ProjectError
from schemas.ids import digest
from schemas.ledger import SCHEMAS
from schemas.settings import Settings
from tasks import filters, ledger
from tasks.deletions import DeletionsError, deleted_keys
from tasks.filters import Curation
from tasks.lake import Lake, swap
from tasks.ledger import Row
from tasks.manifests import Manifest, sound_benchmarks, sound_manifests

SCHEMA_FOLDER = Path(__file__).parents[1] / "schemas"
SQL = (SCHEMA_FOLDER / "catalog.sql").read_text()
CURATION = (SCHEMA_FOLDER / "curation.sql").read_text()
QUESTIONS = (SCHEMA_FOLDER / "questions.sql").read_text()

NOW = pa.schema([("stage", pa.string()), ("fingerprint", pa.string())])
UNREADABLE = ("its ledger cannot be read", "`omnirefiner rebuild` names the damaged file: restore it")
SPILL = "10GB"  # that a question may take of the disk
LOCKED = {"enable_external_access": "false", "lock_configuration": "true", "max_temp_directory_size": SPILL}
# Views over views that most questions go through: where they are kept as tables, they are worked out once, and what is
# laid over them is bound soon. Of catalog.sql, and of curation.sql.
KEPT = ("clustered", "images", "candidates", "quadruplets")
KEPT_OF_CURATION = ("scores", "reviewed")
VIEW = re.compile(r"^CREATE VIEW (\w+)", re.MULTILINE)

CUTS = pa.schema([(name, pa.float32()) for name in (
    "same_product", "style", "viewpoint", "judged", "overlap", "alike", "exact", "unlike"
)])  # fmt: skip
RULES = pa.schema([
    ("filters", pa.string()), ("digest", pa.string()), ("rule", pa.int32()), ("reason", pa.string()),
    ("drop", pa.string()), ("words", pa.string()), ("run_id", pa.string()),
])  # fmt: skip
DROPPED = pa.schema([("quadruplet_id", pa.string()), ("rule", pa.int32())])
VERSIONS = pa.schema([
    ("name", pa.string()), ("kind", pa.string()), ("sequence", pa.int64()), ("parent", pa.string()),
    ("samples", pa.int64()), ("bytes", pa.int64()), ("shards", pa.int64()), ("published_at", pa.string()),
    ("manifest", pa.string()),
])  # fmt: skip
VERSION_SHARDS = pa.schema([
    ("version", pa.string()), ("shard_sha256", pa.string()), ("split_group", pa.string()), ("samples", pa.int64()),
    ("live", pa.int64()), ("bytes", pa.int64()), ("deleted_sha256", pa.string()),
])  # fmt: skip
FILES = pa.schema([("stage", pa.string()), ("files", pa.int64()), ("names", pa.string())])  # what it is made from
MEMBERS = pa.schema([("version", pa.string()), ("quadruplet_id", pa.string())])
DELETIONS = pa.schema([("deleted_sha256", pa.string()), ("quadruplet_id", pa.string())])


class QueryError(ProjectError):
    """A question that the catalogue cannot answer."""


def plan(lake: Lake, fingerprints: Mapping[str, str], settings: Settings) -> duckdb.DuckDBPyConnection:
    """Return an in-memory catalogue that reads the ledger in place, as it is now, under these settings.

    It knows what a build asks; `lay_curation` adds what became of quadruplets.
    """
    spill = {"temp_directory": str(lake.unfinished), "max_temp_directory_size": SPILL}
    connection = duckdb.connect(":memory:", config={"threads": 2, **spill})
    with _told(lake, *UNREADABLE):
        _lay(connection, lake, fingerprints, settings, copy=False)
        connection.execute(SQL)
        # only now the files: each view that is made over them, or over such a view, would look into all of them
        for stage in SCHEMAS:
            _lay_ledger(connection, stage, ledger.files(lake, stage), copy=False)
    return connection


def refresh(connection: duckdb.DuckDBPyConnection, lake: Lake, stage: str) -> None:
    """Let a plan see what was written to a stage's ledger since it was made."""
    with _told(lake, *UNREADABLE):
        _lay_ledger(connection, stage, ledger.files(lake, stage), copy=False)


def lay_curation(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Lay over a plan what became of quadruplets, which stay as they are now."""
    with _told(lake, *UNREADABLE):
        keep(connection, KEPT)
        for stage in SCHEMAS:  # as in `plan`: its files come last
            _lay_ledger(connection, stage, [], copy=False)
        _lay_published(connection, lake, [])
        connection.execute(CURATION)
        for stage in SCHEMAS:
            _lay_ledger(connection, stage, ledger.files(lake, stage), copy=False)


def plan_of_run(lake: Lake, run: Row, curation: Curation | None = None) -> duckdb.DuckDBPyConnection:
    """Return the plan under the settings that a run recorded, with what a filter set drops: by default that in force.

    Raises FilterError where a rule can no longer be applied.
    """
    curation = curation or filters.curation(lake)
    connection = plan(lake, *_of_run(run, curation))
    try:
        lay_curation(connection, lake)
        with _told(lake, *UNREADABLE):
            keep(connection, KEPT_OF_CURATION)
        if curation and curation.filters:
            _lay_rules(connection, curation)
            _table(connection, "dropped", filters.dropped(connection, curation.filters))
    except BaseException:
        connection.close()
        raise
    return connection


def rebuild(lake: Lake) -> None:
    """Build the snapshot from the ledger and the manifests alone, and swap it in for every reader at once."""
    run, curation = ledger.newest_run(lake), filters.curation(lake)
    fingerprints, settings = _of_run(run, curation) if run else ({}, Settings())
    temporary = lake.temporary()
    try:
        with _written(temporary) as connection:
            _lay(connection, lake, fingerprints, settings, copy=True)
            _lay_published(connection, lake, list(sound_manifests(lake)))
            _lay_kept(connection, SQL + CURATION + QUESTIONS)
            read = [dict(zip(FILES.names, (stage, *files_in(lake, stage)), strict=True)) for stage in SCHEMAS]
            _table(connection, "ledger_files", pa.Table.from_pylist(read, schema=FILES))
        if curation and curation.filters:
            with duckdb.connect(str(temporary), read_only=True, config={**LOCKED, "threads": 2}) as connection:
                gone = filters.dropped(connection, curation.filters)
            with _written(temporary) as connection:
                _lay_rules(connection, curation)
                _table(connection, "dropped", gone)
        lake.snapshot.with_suffix(".duckdb.wal").unlink(missing_ok=True)  # nobody of ours writes one
        swap(lake, lake.snapshot, temporary)
    except duckdb.Error as error:
        bad = ", ".join(ledger.damaged(lake))  # DuckDB does not always say which file it is
        what = f"restore {bad}" if bad else "mend that"
        first = str(error).strip().splitlines()[0]
        raise LakeError(
            f"lake {lake.root}: its catalogue cannot be made ({first}); {what} and run the same command again, "
            "nothing is lost"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
        Path(f"{temporary}.wal").unlink(missing_ok=True)


def files_in(lake: Lake, stage: str) -> tuple[int, str]:
    """Return how many files a stage's ledger has, and the digest of their names."""
    found = [file.name for file in ledger.files(lake, stage)]
    return len(found), digest(*found)


def read(lake: Lake) -> duckdb.DuckDBPyConnection:
    """Open the snapshot for questions: read-only, shut off from the host's files, its settings locked."""
    if not lake.snapshot.exists():
        raise LakeError(
            f"lake {lake.root}: it has no catalogue; `omnirefiner build PHOTOS` makes one, "
            "`omnirefiner rebuild` makes it anew"
        )
    with _told(lake, "its catalogue cannot be read", "make it anew with `omnirefiner rebuild`"):
        return duckdb.connect(str(lake.snapshot), read_only=True, config={**LOCKED, "threads": 2})


def age(lake: Lake) -> float:
    """Return the seconds since the snapshot was made."""
    try:
        return time.time() - lake.snapshot.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def is_readable(lake: Lake) -> bool:
    """Say whether there is a snapshot that can be asked."""
    try:
        read(lake).close()
    except LakeError:
        return False
    return True


def rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[Row]:
    """Return the answer to a query of our own as one dict a row. Raises LakeError where the files do not give it."""
    try:
        result = connection.execute(sql, parameters)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise LakeError(
            f"the lake's ledger or catalogue cannot be read ({first}); `omnirefiner rebuild` names the damaged file: "
            "restore it"
        ) from None


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """Return the answer to somebody's one question. Columns of one name are told apart by a number.

    Raises QueryError where there is none in it or more than one, or DuckDB has no answer.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise QueryError(f"query: there are {len(statements)} questions in it; give one SELECT")
        if statements[0].type != duckdb.StatementType.SELECT:  # others could write beside the snapshot, to its own log
            raise QueryError(f"query: {statements[0].type.name} asks nothing; give one SELECT")
        result = connection.execute(sql)
        names: list[str] = []
        for name, *_ in result.description:
            times = sum(known == name or known.startswith(f"{name}:") for known in names)
            names.append(f"{name}:{times}" if times else name)
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    except (duckdb.Error, OverflowError, ValueError) as error:  # Python knows no interval of a million years
        raise QueryError(f"query: {' '.join(str(error).split())}") from None


def _of_run(run: Row, curation: Curation | None) -> tuple[Mapping[str, str], Settings]:
    fingerprints = json.loads(run["fingerprints"]) | ({"score": curation.score_fingerprint} if curation else {})
    return fingerprints, ledger.settings_of(run)


def _lay(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    fingerprints: Mapping[str, str],
    settings: Settings,
    *,
    copy: bool,
) -> None:
    """Lay what catalog.sql is given."""
    for stage in SCHEMAS:
        _lay_ledger(connection, stage, ledger.files(lake, stage) if copy else [], copy=copy)
    now = {"stage": list(fingerprints), "fingerprint": list(fingerprints.values())}
    _table(connection, "settings_now", pa.table(now, schema=NOW))
    least = {
        "same_product": settings.pair.min_same_product,
        "style": settings.pair.min_style,
        "viewpoint": settings.pair.min_viewpoint,
        "judged": None if settings.judge.engine == "none" else settings.judge.min_score,
        "overlap": settings.dedup.min_overlap,
        "alike": settings.dedup.min_alike,
        "exact": settings.dedup.min_exact,
        "unlike": settings.dedup.max_unlike,
    }
    _table(connection, "cuts", pa.Table.from_pylist([least], schema=CUTS))


def _lay_published(connection: duckdb.DuckDBPyConnection, lake: Lake, manifests: Sequence[Manifest]) -> None:
    """Lay what curation.sql is given besides."""
    _lay_versions(connection, lake, manifests)
    _lay_benchmarks(connection, lake)
    _table(connection, "filter_rules", RULES.empty_table())
    _table(connection, "dropped", DROPPED.empty_table())


def _lay_kept(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Make the views of a snapshot."""
    for statement in connection.extract_statements(sql):
        connection.execute(statement)
        view = VIEW.search(statement.query)
        if view and view[1] in KEPT + KEPT_OF_CURATION:
            keep(connection, [view[1]])
    for table in ("quadruplets", "scores"):
        connection.execute(f"CREATE INDEX {table}_by_id ON {table} (quadruplet_id)")


def keep(connection: duckdb.DuckDBPyConnection, views: Sequence[str]) -> None:
    """Make tables of views, as they are now: what is asked of them next is not worked out again."""
    for view in views:
        connection.execute(f"CREATE TABLE kept AS FROM {view}")
        connection.execute(f"DROP VIEW {view}")
        connection.execute(f"ALTER TABLE kept RENAME TO {view}")


def _lay_rules(connection: duckdb.DuckDBPyConnection, curation: Curation) -> None:
    """Lay the rules in force."""
    if curation.filters is None:
        return
    told = {"filters": curation.filters.name, "digest": curation.filters.digest, "run_id": curation.run_id}
    rules = [
        {**told, "rule": number, **rule.model_dump()} for number, rule in enumerate(curation.filters.rules, start=1)
    ]
    _table(connection, "filter_rules", pa.Table.from_pylist(rules, schema=RULES))


def _lay_ledger(connection: duckdb.DuckDBPyConnection, stage: str, paths: Sequence[Path], *, copy: bool) -> None:
    quoted = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    empty = f"nothing_in_{stage}"
    _table(connection, empty, SCHEMAS[stage].empty_table())
    read = f"read_parquet([{quoted}], hive_partitioning = false, union_by_name = true)"
    # columns come with time: older rows have nothing in them
    source = f"(FROM {empty} UNION ALL BY NAME FROM {read})" if paths else empty
    if copy or stage == "clusters":  # small, and asked for wherever photos are
        # nobody asks the snapshot for vectors, and they would be most of it
        columns = "* REPLACE (NULL::BLOB AS vector)" if stage == "embed" else "*"
        connection.execute(f"CREATE OR REPLACE TABLE ledger_{stage} AS SELECT {columns} FROM {source}")
        connection.execute(f"DROP TABLE nothing_in_{stage}")
    else:
        connection.execute(f"CREATE OR REPLACE VIEW ledger_{stage} AS SELECT * FROM {source}")


@contextmanager
def _written(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database to be written. What a full disk leaves out of it is raised here: closing it would hide that."""
    with duckdb.connect(str(path), config={"threads": 2}) as connection:
        yield connection
        connection.execute("CHECKPOINT")


@contextmanager
def _told(lake: Lake, what: str, next_step: str) -> Iterator[None]:
    """Turn DuckDB's troubles with the lake's files into a LakeError."""
    try:
        yield
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise LakeError(f"lake {lake.root}: {what} ({first}); {next_step}") from None


def _lay_versions(connection: duckdb.DuckDBPyConnection, lake: Lake, manifests: Sequence[Manifest]) -> None:
    versions = [
        {**{key: m[key] for key in ("name", "kind", "sequence", "parent", "samples", "bytes", "published_at")},
         "shards": len(m["shards"]), "manifest": f"{m['name']}.json"}
        for m in manifests
    ]  # fmt: skip
    _table(connection, "ledger_versions", pa.Table.from_pylist(versions, schema=VERSIONS))
    entries = [(m["name"], shard) for m in manifests for shard in m["shards"]]
    deleted: dict[str, frozenset[str]] = {}
    for vector, shard in {shard["deleted_sha256"]: shard for _, shard in entries if shard["deleted_sha256"]}.items():
        with suppress(DeletionsError):  # `verify` names it
            deleted[vector] = deleted_keys(lake, shard)
    gone = [{"deleted_sha256": name, "quadruplet_id": key} for name, keys in deleted.items() for key in sorted(keys)]
    _table(connection, "ledger_deletions", pa.Table.from_pylist(gone, schema=DELETIONS))
    shards = [
        {"version": name, "shard_sha256": shard["sha256"],
         **{key: shard[key] for key in ("split_group", "samples", "live", "bytes", "deleted_sha256")}}
        for name, shard in entries if shard["deleted_sha256"] is None or shard["deleted_sha256"] in deleted
    ]  # fmt: skip
    _table(connection, "ledger_version_shards", pa.Table.from_pylist(shards, schema=VERSION_SHARDS))
    connection.execute("CREATE TABLE ledger_shard_members (shard_sha256 VARCHAR, quadruplet_id VARCHAR)")
    for name in sorted({shard["shard_sha256"] for shard in shards}):
        with suppress(duckdb.Error):  # a shard whose index is missing or damaged: `verify` names it
            connection.execute(
                "INSERT INTO ledger_shard_members SELECT ?, key FROM read_parquet(?, hive_partitioning = false)",
                [name, str(lake.shard(name).with_suffix(".parquet"))],
            )


def _lay_benchmarks(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Lay what benchmark versions hold or held; where some of it cannot be read, `publish` publishes nothing."""
    members: list[Row] = []
    for manifest in sound_benchmarks(lake):
        for shard in manifest["shards"]:
            with suppress(duckdb.Error, DeletionsError):
                index = str(lake.shard(shard["sha256"]).with_suffix(".parquet"))
                found = connection.execute("SELECT key FROM read_parquet(?, hive_partitioning = false)", [index])
                keys = {key for (key,) in found.fetchall()} - deleted_keys(lake, shard)
                members += [{"version": manifest["name"], "quadruplet_id": key} for key in sorted(keys)]
    _table(connection, "ledger_benchmark_members", pa.Table.from_pylist(members, schema=MEMBERS))


def _table(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("incoming", table)
    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} AS SELECT * FROM incoming LIMIT 0")
    connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")
    connection.unregister("incoming")
