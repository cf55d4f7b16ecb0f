"""Why: the whole story of one item, from the photos it was made of to the versions that hold it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
from pydantic import BaseModel

from schemas.errors import ProjectError
from schemas.scores import WORSE
from tasks.catalog import rows
from tasks.ledger import Row

SHORTEST = 6  # characters of an id that are enough to ask by

KINDS = {  # what an id may be of: the relation and the column that hold it
    "quadruplet": ("all_quadruplets", "quadruplet_id"),
    "edit": ("outcomes WHERE stage = 'edit'", "item_id"),
    "instruction": ("all_instructions", "instruction_id"),
    "pair": ("outcomes WHERE stage = 'pair'", "item_id"),
    "image": ("all_sources", "image_id"),
    "file": ("outcomes WHERE stage = 'ingest'", "item_id"),
}


class Line(BaseModel):
    """One line of a story."""

    what: str
    id: str
    outcome: str
    detail: str


class UnknownIdError(ProjectError):
    """An id that is nowhere in the catalogue, or stands for several things."""


def story(connection: duckdb.DuckDBPyConnection, asked: str) -> list[Line]:
    """Return the story of an item, asked by its id (or the beginning of it) or by a photo's path.

    Raises UnknownIdError where nothing or more than one thing answers to it.
    """
    kind, item_id = _find(connection, asked)
    match kind:
        case "quadruplet":
            return list(_quadruplet(connection, item_id))
        case "edit":
            return list(_edit(connection, item_id))
        case "instruction":
            return list(_instruction(connection, item_id))
        case "pair":
            return list(_pair(connection, item_id))
        case "image":
            return list(_image(connection, item_id))
        case _:
            return list(_file(connection, item_id))


def _find(connection: duckdb.DuckDBPyConnection, asked: str) -> tuple[str, str]:
    here = str(Path(asked).resolve())
    sql = """SELECT DISTINCT coalesce(i.image_id, i.item_id) AS id, i.image_id IS NOT NULL AS taken
             FROM listed l JOIN ledger_ingest i USING (item_id)
             WHERE l.path = $asked OR concat(i.root, '/', l.path) IN ($asked, $here)"""
    sources = rows(connection, sql, {"asked": asked, "here": here})
    found = [("image" if row["taken"] else "file", row["id"]) for row in sources]
    if not found and len(asked) >= SHORTEST:
        for kind, (relation, column) in KINDS.items():
            sql = f"SELECT DISTINCT {column} AS id FROM (FROM {relation}) WHERE starts_with({column}, ?) LIMIT 3"
            found += [(kind, row["id"]) for row in rows(connection, sql, [asked.lower()])]
    if not found:
        short = f" (give at least {SHORTEST} characters)" if len(asked) < SHORTEST else ""
        raise UnknownIdError(f"why {asked}: no photo, pair, edit or quadruplet has this id or path{short}")
    if len(found) > 1:
        raise UnknownIdError(
            f"why {asked}: several have it ({', '.join(f'{k} {i[:16]}' for k, i in found)}); give more"
        )
    return found[0]


def _file(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    for row in rows(connection, "SELECT * FROM ledger_ingest WHERE item_id = ? ORDER BY run_id", [item_id]):
        where = f"{row['root']}/{row['path']}"
        reason = f": {row['reason']}" if row["reason"] else ""
        detail = ". ".join(filter(None, (where, row["detail"])))
        yield Line(what="file", id=item_id, outcome=f"{row['status']}{reason}", detail=detail)


def _quadruplet(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    row = _one(connection, "all_quadruplets", "quadruplet_id", item_id)
    yield from _photos(connection, row)
    yield from _pair_lines(connection, row["pair_id"])
    yield from _instruction_lines(connection, row["instruction_id"])
    yield from _edit_lines(connection, row["edit_id"])
    yield Line(what="quadruplet", id=item_id, outcome="kept" if row["accepted"] else "refused",
               detail=row["restore_instruction"] or "")  # fmt: skip
    yield from _curation(connection, item_id)
    held = rows(connection, "SELECT version FROM version_members WHERE quadruplet_id = ? ORDER BY version", [item_id])
    names = ", ".join(v["version"] for v in held)
    yield Line(what="versions", id="", outcome=names or "in none", detail=f"split group {row['split_group']}")


def _curation(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    """Tell the scores of a quadruplet, and the rule that drops it."""
    for row in rows(connection, f"SELECT {', '.join(WORSE)} FROM samples WHERE quadruplet_id = ?", [item_id]):
        told = ", ".join(f"{name.replace('_', ' ')} {row[name]:.3g}" for name in WORSE if row[name] is not None)
        yield Line(what="scores", id=item_id, outcome="scored" if row["sharpness"] is not None else "not scored yet",
                   detail=told)  # fmt: skip
    sql = """SELECT filters, rule, reason, "drop", words FROM dropped JOIN filter_rules USING (rule)
             WHERE quadruplet_id = ?"""
    for row in rows(connection, sql, [item_id]):
        because = ": ".join(filter(None, (row["words"], row["drop"])))
        yield Line(what="filters", id=item_id, outcome=f"dropped: {row['reason']}",
                   detail=f"rule {row['rule']} of '{row['filters']}', {because}")  # fmt: skip


def _edit(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    for row in rows(connection, "SELECT instruction_id FROM all_instructions WHERE edit_id = ?", [item_id])[:1]:
        yield from _instruction(connection, row["instruction_id"])


def _instruction(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    row = _one(connection, "all_instructions", "instruction_id", item_id)
    yield from _photos(connection, row)
    yield from _pair_lines(connection, row["pair_id"])
    yield from _instruction_lines(connection, item_id)
    yield from _edit_lines(connection, row["edit_id"])
    yield from _made(connection, "instruction_id", item_id)


def _pair(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    for row in rows(connection, "SELECT target_id, reference_id FROM ledger_pair WHERE item_id = ? LIMIT 1", [item_id]):
        yield from _photos(connection, row)
    yield from _pair_lines(connection, item_id)
    for row in _outcomes(connection, "instruct", item_id):
        if row["status"] != "answered":
            yield _outcome("instructions", row)
    for row in rows(
        connection, "SELECT instruction_id FROM all_instructions WHERE pair_id = ? ORDER BY ordinal", [item_id]
    ):
        yield from _instruction_lines(connection, row["instruction_id"])
    yield from _made(connection, "pair_id", item_id)


def _image(connection: duckdb.DuckDBPyConnection, item_id: str) -> Iterator[Line]:
    yield from _photo_lines(connection, "photo", item_id)
    yield from _cluster_lines(connection, item_id)
    sql = """SELECT pair_id, accepted, coalesce(refused_for, '') AS refused_for, reason FROM pairs
             WHERE target_id = ? OR reference_id = ? ORDER BY accepted DESC, pair_id"""
    for row in rows(connection, sql, [item_id, item_id]):
        yield Line(what="pair", id=row["pair_id"], outcome="accepted" if row["accepted"] else row["refused_for"],
                   detail=row["reason"] or "")  # fmt: skip
    yield from _made(connection, "target_id", item_id)


def _cluster_lines(connection: duckdb.DuckDBPyConnection, image_id: str) -> Iterator[Line]:
    """Tell which photos are the same picture, and which of them is kept."""
    for row in rows(connection, "SELECT * FROM clusters WHERE image_id = ? AND size > 1", [image_id]):
        sql = """SELECT c.image_id, c.keeper, d.alike, d.distance, s.path FROM clusters c
                 JOIN (SELECT image_id, min(path) AS path FROM sources GROUP BY image_id) s USING (image_id)
                 LEFT JOIN duplicates d
                     ON d.one_id = least(c.image_id, $image) AND d.other_id = greatest(c.image_id, $image)
                 WHERE c.cluster_id = $cluster AND c.image_id <> $image ORDER BY NOT c.keeper, s.path"""
        yield Line(what="cluster", id=row["cluster_id"], outcome="kept" if row["keeper"] else "set aside",
                   detail=f"{row['size']} photos are one picture")  # fmt: skip
        for other in rows(connection, sql, {"image": image_id, "cluster": row["cluster_id"]}):
            fits = "linked through others"
            if other["alike"] is not None:
                fits = f"{other['alike']:.0%} of the overlap fits, {other['distance']} bits of the hashes differ"
            yield Line(what="same picture", id=other["image_id"], outcome="kept" if other["keeper"] else "set aside",
                       detail=f"{other['path']}, {fits}")  # fmt: skip


def _photos(connection: duckdb.DuckDBPyConnection, row: Row) -> Iterator[Line]:
    yield from _photo_lines(connection, "target", row["target_id"])
    yield from _photo_lines(connection, "reference", row["reference_id"])


def _photo_lines(connection: duckdb.DuckDBPyConnection, what: str, image_id: str) -> Iterator[Line]:
    for row in rows(
        connection, "SELECT * FROM all_sources WHERE image_id = ? ORDER BY run_id DESC, path LIMIT 1", [image_id]
    ):
        product = f"product {row['product']}" if row["product"] else "product unknown"
        size = f"{row['source_width']} x {row['source_height']} px"
        yield Line(what=what, id=image_id, outcome=f"taken in, {row['split_group']}",
                   detail=f"{row['root']}/{row['path']}, {size}, {product}")  # fmt: skip
    for row in rows(connection, "SELECT reason FROM taken_down WHERE image_id = ?", [image_id]):
        yield Line(what=what, id=image_id, outcome="taken down", detail=row["reason"])


def _pair_lines(connection: duckdb.DuckDBPyConnection, pair_id: str) -> Iterator[Line]:
    for row in rows(connection, "SELECT * FROM all_pairs WHERE pair_id = ? ORDER BY run_id", [pair_id]):
        scores = ", ".join(f"{key.replace('_', ' ')} {row[key]:.2f}" for key in ("same_product", "style", "viewpoint")
                           if row[key] is not None)  # fmt: skip
        outcome = "accepted" if row["accepted"] else f"refused: {row['refused_for']}"
        yield Line(what="pair", id=pair_id, outcome=outcome, detail=". ".join(filter(None, (row["reason"], scores))))
    yield from (_outcome("pair", row) for row in _outcomes(connection, "pair", pair_id) if row["status"] == "failed")


def _instruction_lines(connection: duckdb.DuckDBPyConnection, instruction_id: str) -> Iterator[Line]:
    row = _one(connection, "all_instructions", "instruction_id", instruction_id)
    outcome = f"{row['task']}, {row['category']}, {row['operation']}"
    yield Line(what="instruction", id=instruction_id, outcome=outcome, detail=row["sentence"])


def _edit_lines(connection: duckdb.DuckDBPyConnection, edit_id: str) -> Iterator[Line]:
    for row in rows(connection, "SELECT * FROM ledger_edit WHERE item_id = ? ORDER BY run_id", [edit_id]):
        if row["status"] == "answered":
            figures = (f"mask {row['mask_area']:.1%} of the image, {row['filled']:.0%} of the region, "
                       f"{row['psnr']:.1f} dB within it, strength {row['strength']:.2f}")  # fmt: skip
            yield Line(what="edit", id=edit_id, outcome="kept", detail=figures)
        else:
            yield _outcome("edit", row)


def _made(connection: duckdb.DuckDBPyConnection, column: str, item_id: str) -> Iterator[Line]:
    sql = f"SELECT quadruplet_id, accepted, restore_instruction FROM quadruplets WHERE {column} = ? ORDER BY 1"
    for row in rows(connection, sql, [item_id]):
        yield Line(what="quadruplet", id=row["quadruplet_id"], outcome="kept" if row["accepted"] else "refused",
                   detail=row["restore_instruction"] or "")  # fmt: skip


def _outcomes(connection: duckdb.DuckDBPyConnection, stage: str, item_id: str) -> list[Row]:
    return rows(connection, "SELECT * FROM outcomes WHERE stage = ? AND item_id = ? ORDER BY run_id", [stage, item_id])


def _outcome(what: str, row: Row) -> Line:
    reason = f": {row['reason']}" if row["reason"] else ""
    return Line(what=what, id=row["item_id"], outcome=f"{row['status']}{reason}", detail=row["detail"] or "")


def _one(connection: duckdb.DuckDBPyConnection, view: str, column: str, item_id: str) -> Row:
    return rows(connection, f"SELECT * FROM {view} WHERE {column} = ? ORDER BY run_id DESC LIMIT 1", [item_id])[0]
