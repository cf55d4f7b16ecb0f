"""What is left to do: which items of a stage have no answer under the settings of this run."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from schemas.ledger import STAGES
from tasks.block import block_item
from tasks.catalog import rows
from tasks.judge import verdict_id
from tasks.ledger import Row
from tasks.listing import Listed
from tasks.restore import SHOWN, quadruplet_id

# Every item of a stage, each with what its task needs to know.
ASKED = {
    "embed": "SELECT image_id AS item_id, photo_sha256 FROM images",
    "resemble": "SELECT image_id AS item_id FROM known SEMI JOIN embeddings USING (image_id)",
    "dedup": """SELECT l.pair_id AS item_id, l.*, a.photo_sha256 AS one_sha256, b.photo_sha256 AS other_sha256
                FROM likely l JOIN known a ON a.image_id = l.one_id JOIN known b ON b.image_id = l.other_id""",
    "pair": "SELECT pair_id AS item_id, * FROM candidates",
    "instruct": """SELECT pair_id AS item_id, candidates.* FROM candidates
                   SEMI JOIN pairs ON pairs.pair_id = candidates.pair_id AND pairs.accepted""",
    "edit": """SELECT edit_id AS item_id, any_value(i.target_id) AS target_id,
                      any_value(i.instruction) AS instruction, any_value(t.photo_sha256) AS target_sha256
               FROM instructions i JOIN images t ON t.image_id = i.target_id GROUP BY edit_id""",
    "score": """SELECT q.quadruplet_id AS item_id, q.*, least(t.source_width, t.source_height) AS resolution,
                       least(r.source_width, r.source_height) AS reference_resolution
                FROM quadruplets q JOIN images t ON t.image_id = q.target_id
                JOIN images r ON r.image_id = q.reference_id WHERE q.accepted""",
}


def open_items(connection: duckdb.DuckDBPyConnection, stage: str, listed: Sequence[Listed] = ()) -> list[Row]:
    """Return the items of a stage that have neither answer nor refusal now, those of one target together."""
    match stage:
        case "ingest":
            answered = _answered_ids(connection, stage)
            items = [one.row() for one in listed if one.item_id not in answered]
        case "block":
            answered = _answered_ids(connection, stage)
            images = rows(connection, "SELECT image_id, product FROM keepers SEMI JOIN embeddings USING (image_id)")
            ids = [block_item(row["image_id"], row["product"]) for row in images]
            items = [{"item_id": item_id} for item_id in ids if item_id not in answered]
        case "restore":  # what is shown is what makes the id
            sql = f"SELECT * FROM triplets ANTI JOIN ({_answered(stage)}) USING ({', '.join(SHOWN)})"
            found = {quadruplet_id(row): row for row in rows(connection, sql)}
            items = [{"item_id": item_id, **row} for item_id, row in found.items()]
        case "judge":  # so is what is judged
            judged = [
                {
                    "item_id": verdict_id(row["quadruplet_id"], row["restore_instruction"]),
                    "restoration": row["restore_instruction"],
                    **row,
                }
                for row in rows(connection, "SELECT * FROM restored WHERE accepted")
            ]
            answered = _answered_ids(connection, stage)
            items = [item for item in judged if item["item_id"] not in answered]
        case _:
            items = rows(connection, f"FROM ({ASKED[stage]}) ANTI JOIN ({_answered(stage)}) USING (item_id)")
    return sorted(items, key=lambda item: (str(item.get("target_id")), str(item["item_id"])))


def stages_now(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the stages that the settings ask for, in order: the judge's only where they name one."""
    asked = {row["stage"] for row in rows(connection, "SELECT stage FROM settings_now")}
    return [stage for stage in STAGES if stage in asked]


def _answered(stage: str) -> str:
    return f"""FROM ledger_{stage} WHERE status <> 'failed'
               AND fingerprint = (SELECT fingerprint FROM settings_now WHERE stage = '{stage}')"""


def _answered_ids(connection: duckdb.DuckDBPyConnection, stage: str) -> set[str]:
    return {row["item_id"] for row in rows(connection, f"SELECT item_id FROM ({_answered(stage)})")}
