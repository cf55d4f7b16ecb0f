"""What is left to do: which items of a stage have no answer under the settings of this run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import duckdb

from tasks.block import block_item
from tasks.catalog import rows
from tasks.ledger import Row
from tasks.listing import Listed
from tasks.restore import quadruplet_id


def open_items(connection: duckdb.DuckDBPyConnection, stage: str, listed: Sequence[Listed] = ()) -> list[Row]:
    """Return the items of a stage that have neither answer nor refusal now, in order of their ids."""
    finished = done(connection, stage)
    items = [item for item in all_items(connection, stage, listed) if item["item_id"] not in finished]
    return sorted(items, key=lambda item: str(item["item_id"]))


def all_items(connection: duckdb.DuckDBPyConnection, stage: str, listed: Sequence[Listed] = ()) -> list[Row]:
    """Return every item of a stage, each with what its task needs to know."""
    match stage:
        case "ingest":
            return [asdict(one) | {"item_id": one.item_id} for one in listed]
        case "embed":
            return rows(connection, "SELECT image_id AS item_id, photo_sha256 FROM images")
        case "block":
            found = rows(connection, "SELECT image_id, product FROM images SEMI JOIN embeddings USING (image_id)")
            return [{"item_id": block_item(row["image_id"], row["product"])} for row in found]
        case "pair":
            return rows(connection, "SELECT pair_id AS item_id, * FROM candidates")
        case "instruct":
            return rows(
                connection,
                "SELECT pair_id AS item_id, candidates.* FROM candidates"
                " SEMI JOIN pairs ON pairs.pair_id = candidates.pair_id AND pairs.accepted",
            )
        case "edit":
            return rows(
                connection,
                """SELECT edit_id AS item_id, any_value(i.target_id) AS target_id,
                          any_value(i.instruction) AS instruction, any_value(t.photo_sha256) AS target_sha256
                   FROM instructions i JOIN images t ON t.image_id = i.target_id GROUP BY edit_id""",
            )
        case "restore":
            found = rows(connection, "SELECT * FROM triplets")
            return [{"item_id": quadruplet_id(row), **row} for row in found]
        case _:
            raise ValueError(f"no stage {stage!r}")


def done(connection: duckdb.DuckDBPyConnection, stage: str) -> set[str]:
    """Return the ids of the stage's items that are answered or refused under this run's settings."""
    found = rows(
        connection,
        f"SELECT DISTINCT item_id FROM ledger_{stage} WHERE status <> 'failed'"
        " AND fingerprint = (SELECT fingerprint FROM settings_now WHERE stage = ?)",
        [stage],
    )
    return {row["item_id"] for row in found}
