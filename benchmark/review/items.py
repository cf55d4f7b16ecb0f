"""What there is to look at: items drawn by their digests, and all that the page shows of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import duckdb
import pyarrow as pa

from benchmark.review.verdicts import Item, Verdicts
from schemas.records import Score
from schemas.reviews import Kind, Said
from tasks.catalog import ask
from tasks.codecs import load_mask
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.report.pictures import outline

# Each with its item_id, and `shown` as the view `shown_now` has it.
VIEWS = {
    Kind.PAIR: """SELECT p.pair_id AS item_id, NULL::VARCHAR AS shown, p.*, t.product, t.photo_sha256 AS target_sha256,
                         r.photo_sha256 AS reference_sha256
                  FROM pairs p JOIN images t ON t.image_id = p.target_id JOIN images r ON r.image_id = p.reference_id
                  WHERE p.status = 'answered'""",
    Kind.EDIT: """SELECT e.edit_id AS item_id, e.input_sha256 AS shown, e.*, t.product, i.* EXCLUDE (edit_id)
                  FROM edits e JOIN images t ON t.image_id = e.target_id
                  JOIN (SELECT edit_id, any_value(task) AS task, any_value(category) AS category,
                               any_value(operation) AS operation, any_value(sentence) AS edit_instruction
                        FROM instructions GROUP BY edit_id) i USING (edit_id)""",
    Kind.SAMPLE: """SELECT quadruplet_id AS item_id, restore_instruction AS shown, *
                    FROM quadruplets WHERE restore_instruction IS NOT NULL""",
}
SAID = pa.schema([("item_id", pa.string()), ("shown", pa.string()), ("mine", pa.bool_()), ("others", pa.int64()),
                  ("split", pa.float64())])  # fmt: skip

PICTURES = {
    Kind.PAIR: ("target", "reference"),
    Kind.EDIT: ("target", "raw", "input"),
    Kind.SAMPLE: ("reference", "input", "target"),
}
FIGURES = {  # what was measured of it, which the page shows when it is asked to
    Kind.PAIR: tuple(Score),
    Kind.EDIT: ("strength", "mask_area", "filled", "outside", "psnr"),
    Kind.SAMPLE: ("judged", "strength", "mask_area", "filled", "outside", "psnr"),
}


class Order(StrEnum):
    """Which items come first, after those that the reviewer has not judged yet."""

    DIGEST = "digest"
    UNREVIEWED = "unreviewed"  # those that the fewest others judged
    DISPUTED = "disputed"  # those on which the others agree least


ORDERS = {
    Order.DIGEST: "items.item_id",
    Order.UNREVIEWED: "coalesce(others, 0)",
    Order.DISPUTED: "-coalesce(split, 0), -coalesce(others, 0)",
}


@dataclass(frozen=True)
class Drawn:
    """Items to be looked at, in order."""

    kind: Kind
    rows: tuple[Row, ...]

    def item(self, number: int) -> Item:
        """Return what a verdict on an item is about."""
        return self.rows[number]["item_id"], self.rows[number]["shown"]


def draw(
    connection: duckdb.DuckDBPyConnection,
    verdicts: Verdicts,
    kind: Kind,
    reviewer: str,
    where: str = "true",
    count: int = 100,
    order: Order = Order.DIGEST,
) -> Drawn:
    """Return up to `count` items where an SQL condition over the kind's view holds, those to be judged first.

    The same lake and verdicts give the same items. Raises QueryError where the condition is none.
    """
    said = pa.Table.from_pylist([_said(verdicts, item, reviewer) for item in verdicts.items()], schema=SAID)
    connection.register("said", said)
    sql = f"""SELECT items.* FROM ({VIEWS[kind]}) items LEFT JOIN said
                   ON said.item_id = items.item_id AND said.shown IS NOT DISTINCT FROM items.shown
              WHERE items.item_id IN (SELECT item_id FROM ({VIEWS[kind]}) WHERE {where})
              ORDER BY coalesce(mine, false), {ORDERS[order]}, items.item_id LIMIT {count}"""
    found = ask(connection, sql)
    connection.unregister("said")
    return Drawn(kind, tuple(found))


def facts(lake: Lake, kind: Kind, row: Row) -> dict[str, Any]:
    """Return what the page shows of an item, as JSON. Raises ArtifactError where its mask cannot be read."""
    shown = {
        "id": row["item_id"],
        "product": row["product"],
        "tags": [row[name] for name in ("task", "category", "operation", "split_group") if row.get(name)],
        "pictures": {name: row[f"{name}_sha256"] for name in PICTURES[kind]},
        "words": {name: row[column] for name, column in _WORDS.items() if row.get(column)},
        "figures": {name: row[name] for name in FIGURES[kind] if row.get(name) is not None} | _marks(row),
        "reason": row.get("reason"),
    }
    if kind is Kind.PAIR:
        return shown
    mask = load_mask(lake, row["mask_sha256"])
    return shown | {"outline": outline(mask), "size": [mask.shape[1], mask.shape[0]]}


_WORDS = {"edit": "edit_instruction", "restore": "restore_instruction"}


def _marks(row: Row) -> dict[str, float]:
    marks: dict[str, float] = json.loads(row.get("marks") or "{}")
    return marks


def _said(verdicts: Verdicts, item: Item, reviewer: str) -> Row:
    others = [row["verdict"] for name, row in verdicts.of(item).items() if name != reviewer]
    keeps = others.count(Said.KEEP)
    less = min(keeps, len(others) - keeps)
    mine = reviewer in verdicts.of(item)
    split = less / len(others) if others else 0.0
    return {"item_id": item[0], "shown": item[1], "mine": mine, "others": len(others), "split": split}
