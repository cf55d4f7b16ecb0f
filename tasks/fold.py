"""Folding: many small files of the ledger become a larger one, since every question opens all of them.

A chunk's answers are a file each, a reviewer's verdict too. A folded file says which files it stands for, and the
ledger leaves those out from then on (`tasks.ledger.files`). They stay on disk until the next folding, for whoever still
reads them.
"""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.ids import canonical, digest
from schemas.ledger import SCHEMAS
from tasks import ledger
from tasks.lake import Lake, put, told

MANY = 64  # small files of a stage that are worth a larger one
SMALL = 8 << 20  # bytes; a larger file is not written again
WHOLE = ("runs",)  # whose files are asked for by run


def fold(lake: Lake) -> int:
    """Fold each stage that has many small files, and delete what earlier foldings stand for; return the files folded.

    Only the lake's writer may ask. Raises LakeError where a file cannot be read, or the disk gives trouble.
    """
    return sum(_fold(lake, stage) for stage in SCHEMAS if stage not in WHOLE)


def _fold(lake: Lake, stage: str) -> int:
    current = ledger.files(lake, stage)
    with told(lake):
        for file in sorted(set(ledger.all_files(lake, stage)).difference(current)):
            file.unlink()
    small = [file for file in current if file.stat().st_size < SMALL]
    if len(small) < MANY:
        return 0
    names = [file.name for file in small]
    found = [pa.Table.from_pylist(ledger.read(lake, stage, file), schema=SCHEMAS[stage]) for file in small]
    stands_for = {ledger.STANDS_FOR: canonical(names).encode()}
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(found).replace_schema_metadata(stands_for), buffer, compression="zstd")
    newest = names[-1].partition("-")[0]
    put(lake, Path(small[0].parent, f"{newest}{ledger.FOLDED}{digest(*names)[:16]}.parquet"), buffer.getvalue())
    return len(small)
