"""Folding: many small files of the ledger become a larger one, since every question opens all of them.

A chunk's answers are a file each, a reviewer's verdict too. A folded file says which files it stands for, and the
ledger leaves those out from then on (`tasks.ledger.files`). They stay on disk until the next folding, for whoever still
reads them.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.ids import canonical, digest
from schemas.ledger import SCHEMAS
from tasks import ledger
from tasks.lake import Lake, put, told

MANY = 64  # small files of a stage that are worth a larger one
SMALL = 8 << 20  # bytes; a larger file is not written again
LARGE = 64 << 20  # bytes of small files that make one: they are held in memory meanwhile
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
    sizes = {file: file.stat().st_size for file in current}
    small = [file for file in current if sizes[file] < SMALL]
    if len(small) < MANY:
        return 0
    group: list[Path] = []
    for file in small:
        if sum(sizes[one] for one in group) + sizes[file] > LARGE:
            _put(lake, group)
            group = []
        group.append(file)
    _put(lake, group)
    return len(small)


def _put(lake: Lake, group: Sequence[Path]) -> None:
    """Write the file that stands for a group, and for all that these stand for: none of them may ever count again."""
    names = [file.name for file in group]
    older = [name for file in group if ledger.FOLDED in file.name for name in ledger.stands_for(file)]
    tables = [_read(lake, file) for file in group]
    table = pa.concat_tables(tables, promote_options="default")  # also columns that this code does not know
    table = table.replace_schema_metadata({ledger.STANDS_FOR: canonical(sorted({*names, *older})).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    newest = names[-1].partition("-")[0]
    put(lake, group[0].with_name(f"{newest}{ledger.FOLDED}{digest(*names)[:16]}.parquet"), buffer.getvalue())


def _read(lake: Lake, file: Path) -> pa.Table:
    try:
        with pq.ParquetFile(file) as opened:
            return opened.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ledger.unreadable(lake, file, error) from None
