"""The leakage guard: nothing that a benchmark version holds, or ever held, may be trained on."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from schemas.errors import VersionError
from tasks.catalog import rows
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import all_manifests

NAMED = 5  # samples that a refusal names


def refuse_unknown(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Raise VersionError where it cannot be told what a benchmark version held: nothing is published past it."""
    sql = "SELECT version, count(DISTINCT quadruplet_id) AS n FROM benchmark_photos GROUP BY version"
    known = {row["version"]: row["n"] for row in rows(connection, sql)}
    for manifest in all_manifests(lake):
        name, told = manifest["name"], known.get(manifest["name"], 0)
        if manifest["kind"] == "benchmark" and told != manifest["samples"]:
            raise VersionError(
                f"benchmark '{name}': only {told} of its {manifest['samples']} samples can be told, and others may "
                f"leak into training; `omnirefiner verify {name}` says what to restore"
            )


def leaks(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the current samples that share a source, a product or a cluster with a benchmark version."""
    return rows(connection, 'SELECT * FROM leaks ORDER BY quadruplet_id, "by" DESC, version, what')


def refuse_leaks(version: str, found: Sequence[Row]) -> None:
    """Raise VersionError where there are any, naming the first."""
    if not found:
        return
    first = {row["quadruplet_id"]: row for row in reversed(found)}
    named = [
        f"{key[:12]} by its {row['by']} {row['what'][:40]} in '{row['version']}'"
        for key, row in sorted(first.items())[:NAMED]
    ]
    raise VersionError(
        f"version '{version}': {len(first)} samples show what a benchmark holds ({'; '.join(named)}"
        f'{"; ..." if len(first) > NAMED else ""}); `omnirefiner query "FROM leaks"` names all: take their photos out, '
        "or publish with --leave-out-leaks"
    )
