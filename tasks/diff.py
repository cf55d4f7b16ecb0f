"""The difference of two versions: what came, what left by which rule, what was made anew, how figures shifted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from schemas.errors import LakeError
from tasks import catalog
from tasks.catalog import rows
from tasks.deletions import deleted_keys
from tasks.distributions import BARS, SCORES, bars, gather, histogram
from tasks.filters import Curation, FilterSet, curation
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest, read_manifest

SAID = pa.schema([("quadruplet_id", pa.string()), ("said", pa.string()), ("side", pa.string())])

# The samples of one side, as its version's restorations were answered.
SIDE = """
SELECT q.*, s.said, i.ordinal FROM all_quadruplets q JOIN said s USING (quadruplet_id)
LEFT JOIN (SELECT instruction_id, min(ordinal) AS ordinal FROM all_instructions WHERE fingerprint = $instruct
           GROUP BY 1) i USING (instruction_id)
WHERE s.side = $side AND q.fingerprint = $fingerprint
QUALIFY row_number() OVER (PARTITION BY q.quadruplet_id ORDER BY q.run_id DESC) = 1
"""

# What became of the samples that both versions have: nothing (no stage), or the first stage whose answer differs.
MATCHED = """
CREATE TEMP TABLE matched AS
WITH of_one AS (FROM one ANTI JOIN other USING (quadruplet_id)),
of_other AS (FROM other ANTI JOIN one USING (quadruplet_id)),
edited AS (
    SELECT a.quadruplet_id, b.quadruplet_id AS anew,
           CASE WHEN (a.target_sha256, a.reference_sha256) <> (b.target_sha256, b.reference_sha256) THEN 'ingest'
                ELSE 'edit' END AS stage
    FROM of_one a JOIN of_other b USING (instruction_id)
), instructed AS (
    SELECT a.quadruplet_id, CASE WHEN a.target_sha256 <> b.target_sha256 THEN 'ingest' ELSE 'instruct' END AS stage
    FROM (FROM of_one ANTI JOIN edited USING (quadruplet_id)) a
    JOIN (FROM of_other WHERE quadruplet_id NOT IN (SELECT anew FROM edited)) b USING (pair_id, ordinal)
)
SELECT a.quadruplet_id, CASE WHEN a.said = b.said THEN NULL
                             WHEN a.restore_instruction <> b.restore_instruction THEN 'restore'
                             WHEN a.edit_instruction <> b.edit_instruction THEN 'instruct'
                             WHEN $judged THEN 'judge' ELSE 'listing' END AS stage
FROM one a JOIN other b USING (quadruplet_id)
UNION ALL BY NAME SELECT quadruplet_id, stage FROM edited UNION ALL BY NAME SELECT quadruplet_id, stage FROM instructed
"""

# What those reasons are looked up in, each asked once: the views lie many deep.
NOW = {
    "withdrawn_now": "SELECT * FROM withdrawn",
    "refused_now": "SELECT DISTINCT stage, item_id, reason FROM rejections",
    "instructions_now": "SELECT DISTINCT instruction_id FROM instructions",
}

# Why the other samples are no longer there: the first reason on the way from a photo to a version.
DROPPED = """
WITH gone AS (FROM one ANTI JOIN matched USING (quadruplet_id)),
photos AS (SELECT quadruplet_id, unnest([target_id, reference_id]) AS image_id FROM gone),
why AS (
    SELECT quadruplet_id, 1 AS step, 'takedown' AS stage, w.reason FROM gone JOIN withdrawn_now w USING (quadruplet_id)
        WHERE w.reason = 'taken-down'
    UNION ALL SELECT quadruplet_id, 2, 'publish', 'licence' FROM gone WHERE len($licences) > 0 AND NOT coalesce(
        list_contains($licences, target_licence) AND list_contains($licences, reference_licence), false)
    UNION ALL SELECT quadruplet_id, 3, 'publish', w.reason FROM gone JOIN withdrawn_now w USING (quadruplet_id)
    UNION ALL SELECT quadruplet_id, 4, 'ingest', r.reason FROM photos p JOIN all_sources s USING (image_id)
        JOIN refused_now r ON r.stage = 'ingest' AND r.item_id = s.source_id
    UNION ALL SELECT quadruplet_id, 5, 'listing', 'no longer listed' FROM photos ANTI JOIN images USING (image_id)
    UNION ALL SELECT quadruplet_id, 6, r.stage, r.reason FROM gone JOIN refused_now r ON r.item_id = pair_id
    UNION ALL SELECT quadruplet_id, 7, 'block', 'no longer proposed' FROM gone ANTI JOIN candidates USING (pair_id)
    UNION ALL SELECT quadruplet_id, 8, 'instruct', 'no longer written' FROM gone
        ANTI JOIN instructions_now USING (instruction_id)
    UNION ALL SELECT quadruplet_id, 9, r.stage, r.reason FROM gone JOIN refused_now r ON r.item_id = edit_id
    UNION ALL SELECT quadruplet_id, 10, r.stage, r.reason FROM gone JOIN refused_now r ON r.item_id = quadruplet_id
    UNION ALL SELECT quadruplet_id, 11, r.stage, r.reason FROM gone JOIN all_verdicts v USING (quadruplet_id)
        JOIN refused_now r ON r.stage = 'judge' AND r.item_id = v.item_id
    UNION ALL SELECT quadruplet_id, 12, 'build', 'by no rule that holds now' FROM gone
)
SELECT stage, reason, count(*) AS n
FROM (FROM why QUALIFY row_number() OVER (PARTITION BY quadruplet_id ORDER BY step, stage, reason) = 1)
GROUP BY stage, reason ORDER BY n DESC, stage, reason
"""


class Left(BaseModel):
    """Samples that the later version does not hold as they were: dropped by a rule, or made anew by a changed stage."""

    what: str  # dropped | rewritten
    stage: str
    reason: str
    samples: int


class Shift(BaseModel):
    """How a figure of the samples shifted: the share that would have to change for both versions to be alike, 0..1."""

    figure: str
    before: str  # the median, or the most frequent value with its share
    after: str
    shift: float


class Diff(BaseModel):
    """From one version to another."""

    before: str
    after: str
    samples_before: int
    samples_after: int
    added: int
    dropped: int
    rewritten: int
    unchanged: int
    left: list[Left]
    shifts: list[Shift]


def compare(lake: Lake, before: str, after: str) -> Diff:
    """Compare two versions.

    Raises VersionError where one is not there, LakeError where an index or a deletion vector is damaged.
    """
    one, other = read_manifest(lake, before), read_manifest(lake, after)
    left = left_out(lake, one, other)
    counts = {what: sum(row.samples for row in left if row.what == what) for what in ("dropped", "rewritten")}
    unchanged = one["samples"] - sum(counts.values())
    return Diff(
        before=before,
        after=after,
        samples_before=one["samples"],
        samples_after=other["samples"],
        added=other["samples"] - unchanged - counts["rewritten"],
        unchanged=unchanged,
        left=left,
        shifts=_shifts(lake, one, other),
        **counts,
    )


def left_out(lake: Lake, before: Manifest, after: Manifest) -> list[Left]:
    """Return what of one version another does not hold as it was, and why, the most frequent first.

    A sample is made anew where the same pair or instruction gave another one; that is told of the first stage whose
    answer differs, with its two fingerprints. Why another is dropped is asked under the later version's settings, of
    the ledger as it is now.
    """
    now = {key: json.dumps(after[key]) for key in ("fingerprints", "settings")} | {"run_id": after["run_id"]}
    with catalog.plan_of_run(lake, now, _curation_of(lake, after)) as connection:
        connection.execute(catalog.QUESTIONS)  # what is refused now is one
        said = [{**row, "side": side} for side, m in (("one", before), ("other", after)) for row in _said(lake, m)]
        connection.register("said", pa.Table.from_pylist(said, schema=SAID))
        for side, manifest in (("one", before), ("other", after)):
            restore, instruct = (manifest["fingerprints"][stage] for stage in ("restore", "instruct"))
            parameters = {"side": side, "fingerprint": restore, "instruct": instruct}
            connection.execute(f"CREATE TEMP TABLE {side} AS {SIDE}", parameters)
        judged = before["fingerprints"].get("judge") != after["fingerprints"].get("judge")
        connection.execute(MATCHED, {"judged": judged})
        sql = "SELECT stage, count(*) AS n FROM matched WHERE stage IS NOT NULL GROUP BY 1 ORDER BY n DESC, 1"
        rewritten = rows(connection, sql)
        for name, sql in NOW.items():
            connection.execute(f"CREATE TEMP TABLE {name} AS {sql}")
        dropped = rows(connection, DROPPED, {"licences": after["settings"]["publish"]["licences"]})
    return [
        Left(what="rewritten", stage=row["stage"], reason=_changed(row["stage"], before, after), samples=row["n"])
        for row in rewritten
    ] + [Left(what="dropped", stage=row["stage"], reason=row["reason"], samples=row["n"]) for row in dropped]


def _curation_of(lake: Lake, manifest: Manifest) -> Curation | None:
    """Return the curation in force as if a version's filter set were; the scores are those that count now."""
    newest = curation(lake)
    if newest is None:
        return None
    told = manifest["filters"]
    return newest.model_copy(update={"filters": told and FilterSet(name=told["name"], rules=told["rules"])})


def _said(lake: Lake, manifest: Manifest) -> list[Row]:
    """Return the live samples of a version, each with the digest of what its json says."""
    found = []
    for entry in manifest["shards"]:
        path, deleted = lake.shard(entry["sha256"]).with_suffix(".parquet"), deleted_keys(lake, entry)
        try:
            index = pq.read_table(path, columns=["key", "json.sha256"]).to_pylist()
        except (OSError, pa.ArrowException) as error:
            first = str(error).splitlines()[0]
            raise LakeError(
                f"lake {lake.root}: shards/{path.name} cannot be read ({first}); "
                f"`omnirefiner verify {manifest['name']}` says what to restore"
            ) from None
        found += [
            {"quadruplet_id": row["key"], "said": row["json.sha256"]} for row in index if row["key"] not in deleted
        ]
    return found


def _changed(stage: str, before: Manifest, after: Manifest) -> str:
    was, now = (manifest["fingerprints"].get(stage, "none")[:8] for manifest in (before, after))
    if stage == "listing":
        return "facts of its photos, such as the licence"
    return f"fingerprint {was} -> {now}" if was != now else "answered anew"


def _shifts(lake: Lake, before: Manifest, after: Manifest) -> list[Shift]:
    """Return the shift of every figure, the largest first."""
    with catalog.read(lake) as connection:
        gather(connection, lake, [after, before])
        counted = [bars(connection, column, name) for column, name in BARS.items()]
        measured = [histogram(connection, score) for score in SCORES]
    told = [(one, _commonest(one["rows"], 2), _commonest(one["rows"], 1)) for one in counted]
    told += [(one, _median(one, "b"), _median(one, "a")) for one in measured]
    shifts = [Shift(figure=one["name"], before=was, after=now, shift=one["shift"]) for one, was, now in told]
    return sorted(shifts, key=lambda one: -one.shift)


def _commonest(counted: Sequence[Sequence[Any]], side: int) -> str:
    total = sum(row[side] for row in counted)
    most = max(counted, key=lambda row: row[side], default=None)
    return f"{most[0]} {most[side] / total:.0%}" if most is not None and total else "none"


def _median(one: Mapping[str, Any], side: str) -> str:
    return f"median {one['quantiles'][side][1]:g} {one['unit']}".rstrip() if side in one["quantiles"] else "none"
