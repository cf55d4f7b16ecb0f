"""Preference pairs: of one target and one instruction, the best and the worst execution, in shards of their own.

All executions count that the ledger holds, whatever the settings: other editors, strengths and seeds, kept and refused.
An edit scores what of its region changed, less what of its change lies elsewhere, and 1 more if it was kept: no refused
edit beats a kept one. The raw edits are compared, before anything was pasted back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb

from schemas.ids import canonical, digest, sha256
from tasks.catalog import rows
from tasks.codecs import encode_mask, read_artifact
from tasks.edit import polygon_mask
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.pack import Part, Sample, Shard, write_shard

PARTS = ("better.webp", "json", "mask.png", "target.webp", "worse.webp")  # in every preference, in this order
LEAST = 0.1  # by which the scores of a pair differ

# An edit that has another shape than its target, or is black, has no place to be compared at.
RANKED = """
WITH executed AS (
    SELECT item_id AS edit_id, target_id, target_sha256, raw_sha256, status, reason, filled, outside, psnr, strength,
           fingerprint, (status = 'answered')::INT + filled::DOUBLE - outside::DOUBLE AS score
    FROM ledger_edit WHERE status IN ('answered', 'refused') AND raw_sha256 IS NOT NULL AND filled IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY item_id, target_sha256, fingerprint ORDER BY run_id DESC) = 1
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY edit_id, target_sha256 ORDER BY score DESC, fingerprint) AS place,
           row_number() OVER (PARTITION BY edit_id, target_sha256 ORDER BY score, fingerprint) AS last
    FROM executed
), asked AS (
    SELECT edit_id, any_value(task) AS task, any_value(category) AS category, min(sentence) AS edit_instruction,
           any_value(instruction) AS instruction
    FROM all_instructions GROUP BY edit_id
)
SELECT a.*, b.target_id, b.target_sha256, b AS better, w AS worse
FROM ranked b JOIN ranked w USING (edit_id, target_sha256) JOIN asked a USING (edit_id)
WHERE b.place = 1 AND w.last = 1 AND b.score - w.score >= $least
ORDER BY edit_id, target_sha256
"""


def preferences(connection: duckdb.DuckDBPyConnection, samples: Sequence[Row]) -> list[Row]:
    """Return the preferences over the targets of these samples (rows of `quadruplets`), ordered by their ids."""
    facts = ("split_group", "width", "height", "target_licence")
    targets = {(row["target_id"], row["target_sha256"]): {key: row[key] for key in facts} for row in samples}
    found = [
        {**row, **targets[row["target_id"], row["target_sha256"]], "preference_id": _id(row)}
        for row in rows(connection, RANKED, {"least": LEAST})
        if (row["target_id"], row["target_sha256"]) in targets
    ]
    return sorted(found, key=lambda row: str(row["preference_id"]))


def pack_preferences(lake: Lake, found: Sequence[Row]) -> Shard:
    """Pack preferences of one split group into a shard, as `tasks.pack.pack_shard` does quadruplets.

    Raises LakeError where an artifact is missing or damaged, or the disk gives trouble.
    """
    (split_group,) = {row["split_group"] for row in found}
    digest, index_digest, size = write_shard(lake, (_sample(lake, row) for row in found), PARTS)
    return Shard(digest, index_digest, len(found), len(found), size, split_group, jpeg_quality=0)


def _id(row: Row) -> str:
    return digest("preference", row["edit_id"], row["better"]["raw_sha256"], row["worse"]["raw_sha256"])


def _sample(lake: Lake, row: Row) -> Sample:
    region = tuple((x, y) for x, y in json.loads(row["instruction"])["region"])
    made = (_told(row), encode_mask(polygon_mask(region, row["width"], row["height"])))
    stored = (row["better"]["raw_sha256"], row["target_sha256"], row["worse"]["raw_sha256"])
    told, mask = (Part(data, sha256(data)) for data in made)
    better, target, worse = (Part(read_artifact(lake, digest, "webp"), digest) for digest in stored)
    return Sample(row["preference_id"], row["width"], row["height"], (better, told, mask, target, worse))


def _told(row: Row) -> bytes:
    """Return the part that says what was asked, and of both edits the figures and what became of them."""
    return canonical({
        "key": row["preference_id"],
        **{key: row[key] for key in ("edit_id", "task", "category", "edit_instruction")},
        "region": json.loads(row["instruction"])["region"],
        "target_image": row["target_id"],
        "target_licence": row["target_licence"],
        **{side: _executed(row[side]) for side in ("better", "worse")},
    }).encode()  # fmt: skip


def _executed(edit: Row) -> dict[str, Any]:
    told = ("status", "reason", "score", "filled", "outside", "psnr", "strength", "fingerprint")
    return {key: round(edit[key], 4) if isinstance(edit[key], float) else edit[key] for key in told}
