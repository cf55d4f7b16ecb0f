"""samples.parquet: one row a sample, with all that people choose samples by, and where its parts lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import catalog
from tasks.export.layout import ExportedShard
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest
from tasks.pack import INDEX, Laid

NAME = "samples.parquet"

SAID = [  # by the sample's own json
    ("task", pa.string()),
    ("category", pa.string()),
    ("edit_instruction", pa.string()),
    ("restore_instruction", pa.string()),
    ("target_image", pa.string()),
    ("reference_image", pa.string()),
    ("target_licence", pa.string()),
    ("reference_licence", pa.string()),
]
KNOWN = [  # to the catalogue
    ("product", pa.string()),
    ("operation", pa.string()),  # what the editor was asked to do
    ("mask_area", pa.float32()),  # share of the image
    ("strength", pa.float32()),  # of the edit
    ("filled", pa.float32()),  # share of the region that changed
    ("outside", pa.float32()),  # share of the raw change that lay outside the region
    ("psnr", pa.float32()),  # dB, of input and target within the mask
    ("same_product", pa.float32()),  # the pair's scores, 0..1
    ("style", pa.float32()),
    ("viewpoint", pa.float32()),
    ("judged", pa.float32()),  # the judge's least mark, 0..1; null where none was asked
]
SCHEMA = pa.schema([
    ("key", pa.string()), ("split", pa.string()), ("shard", pa.string()),
    ("number", pa.int32()),  # of the sample in its shard, from 0
    ("width", pa.int32()), ("height", pa.int32()),
    *SAID, *KNOWN,
    *[field for field in INDEX if field.name not in ("key", "width", "height")],
])  # fmt: skip

Keep = Callable[[ExportedShard, Laid, Sequence[Row]], None]

FACTS = """
CREATE TEMP TABLE facts AS
SELECT q.quadruplet_id AS key, q.product, q.operation, q.mask_area, q.strength, q.filled, q.outside, q.psnr,
       p.same_product, p.style, p.viewpoint, v.score AS judged
FROM all_quadruplets q
SEMI JOIN version_members m ON m.quadruplet_id = q.quadruplet_id AND m.version = $version
LEFT JOIN all_pairs p ON p.pair_id = q.pair_id AND p.fingerprint = $pair
LEFT JOIN all_verdicts v ON v.quadruplet_id = q.quadruplet_id AND v.fingerprint = $judge
    AND v.restoration = q.restore_instruction
WHERE q.fingerprint = $restore
"""


@contextmanager
def table(lake: Lake, manifest: Manifest, path: Path) -> Iterator[Keep]:
    """Write the table; the block is given what adds a shard's samples, each with its json. One row group a shard."""
    by = {stage: manifest["fingerprints"].get(stage) for stage in ("pair", "judge", "restore")}
    with (
        catalog.read(lake) as connection,
        path.open("xb") as file,
        pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer,
    ):
        catalog.rows(connection, FACTS, {"version": manifest["name"], **by})

        def keep(shard: ExportedShard, laid: Laid, said: Sequence[Row]) -> None:
            sql = "SELECT * FROM facts SEMI JOIN (SELECT unnest(?) AS key) USING (key)"
            facts = {row["key"]: row for row in catalog.rows(connection, sql, [[row["key"] for row in laid.index]])}
            rows = [
                {
                    **facts.get(index["key"], {}),
                    **about,
                    **index,
                    "split": shard.split,
                    "shard": shard.name,
                    "number": n,
                }
                for n, (index, about) in enumerate(zip(laid.index, said, strict=True))
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))

        yield keep


def said_by(json_part: bytes) -> Row:
    """Return what a sample's json says, as far as the table holds it."""
    said = json.loads(json_part)
    return {name: said[name] for name, _ in SAID}
