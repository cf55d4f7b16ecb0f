"""What a benchmark may be chosen from: the curated samples of the reserve, less what people dropped or models saw."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import duckdb
import pyarrow as pa

from benchmark.select import CANDIDATES
from schemas.errors import ProjectError
from tasks.catalog import rows
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import all_manifests
from tasks.versions import keys_of, licensed

# What people dropped is out: the sample, its edit or its pair, where no more people kept it. So is what was taken down,
# and what shows a photo, a product or a cluster that a version for training ever held.
SQL = """
WITH seen AS (SELECT DISTINCT image_id FROM photos_shown SEMI JOIN trained USING (quadruplet_id)), held AS (
    SELECT 'photo' AS "by", image_id AS what FROM seen
    UNION SELECT 'product', i.product FROM seen JOIN all_images i USING (image_id) WHERE i.product IS NOT NULL
    UNION SELECT 'cluster', c.cluster_id FROM seen JOIN clustered c USING (image_id)
), shown AS (
    SELECT quadruplet_id, 'photo' AS "by", image_id AS what FROM photos_shown
    UNION ALL SELECT quadruplet_id, 'product', i.product FROM photos_shown JOIN all_images i USING (image_id)
    UNION ALL SELECT quadruplet_id, 'cluster', c.cluster_id FROM photos_shown JOIN clustered c USING (image_id)
), trained_on AS (SELECT DISTINCT quadruplet_id FROM shown SEMI JOIN held USING ("by", what)),
dropped_by_people AS (SELECT kind, item_id FROM reviewed WHERE drops > 0 AND drops >= keeps)
SELECT s.*, coalesce(s.cluster_id, s.target_id) AS cluster,
       coalesce(s.product, s.cluster_id, s.target_id) AS group_id,
       TRY_CAST(TRY_CAST(p.evidence AS JSON) ->> 'view_change' AS DOUBLE) AS view_change,
       CASE WHEN EXISTS (FROM dropped_by_people d WHERE d.item_id IN (s.quadruplet_id, s.edit_id, s.pair_id))
                THEN 'dropped by reviewers'
            WHEN s.quadruplet_id IN (SELECT quadruplet_id FROM withdrawn WHERE reason = 'taken-down') THEN 'taken down'
            WHEN s.quadruplet_id IN (FROM trained_on) THEN 'trained on' END AS out
FROM curated s LEFT JOIN pairs p USING (pair_id) WHERE s.split_group = 'benchmark' ORDER BY s.quadruplet_id
"""


def candidates(
    connection: duckdb.DuckDBPyConnection, lake: Lake, licences: Sequence[str]
) -> tuple[list[Row], dict[str, int]]:
    """Return the rows that a benchmark may be chosen from, and how many are left out for which reason."""
    trained = pa.table({"quadruplet_id": pa.array(sorted(_trained(lake)), pa.string())})
    connection.register("trained", trained)
    found = rows(connection, SQL)
    connection.unregister("trained")
    left_out: dict[str, int] = {}
    for row in found:
        if row["out"]:
            left_out[row["out"]] = left_out.get(row["out"], 0) + 1
    kept = [row for row in found if not row["out"]]
    named = licensed(kept, licences)
    if len(named) < len(kept):
        left_out["of another licence"] = len(kept) - len(named)
    return named, left_out


def as_table(found: Sequence[Row]) -> pa.Table:
    """Return rows as what is chosen from."""
    told = {"product": "group_id", "damage": "psnr", "view": "view_change"}
    return pa.table(
        {name: [row[told.get(name, name)] for row in found] for name in CANDIDATES.names}, schema=CANDIDATES
    )


def _trained(lake: Lake) -> set[str]:
    """Return the keys of all that versions for training ever held, as far as their indexes are still there."""
    keys: set[str] = set()
    for manifest in all_manifests(lake):
        if manifest["kind"] == "training":
            for entry in manifest["shards"]:
                with suppress(ProjectError):  # of a retired version, whose indexes were collected
                    keys |= keys_of(lake, entry)
    return keys
