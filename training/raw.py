"""Edits as the editor left them: shards hold the input pasted back within its mask, the lake keeps the raw ones too."""

from collections.abc import Mapping

import pyarrow as pa

from schemas.errors import DataError
from tasks import catalog
from tasks.lake import open_lake
from training.decode import Piece
from training.stored import Store


def raw_edits(store: Store, version: str, samples: pa.Table) -> Mapping[str, Piece]:
    """Return by key where the raw edits of samples (rows of an index) lie among the lake's artifacts.

    The catalogue knows: a quadruplet with the sample's key and the very input that was pasted. A raw edit has the
    editor's own size, and may lie a little off its target. Raises DataError where one is not at hand.
    """
    if store.local is None:
        raise DataError(
            f"lake {store.root}: raw edits are found through its catalogue, which is read on a local disk only; "
            "copy the lake, or set data.edit to 'pasted'"
        )
    lake = open_lake(store.local)
    with catalog.read(lake) as connection:
        found = {
            (row["quadruplet_id"], row["input_sha256"]): row["raw_sha256"]
            for row in catalog.rows(connection, "SELECT quadruplet_id, input_sha256, raw_sha256 FROM all_quadruplets")
        }
    pieces: dict[str, Piece] = {}
    for sample in samples.select(["key", "input.webp.sha256"]).to_pylist():
        digest = found.get((sample["key"], sample["input.webp.sha256"]))
        path = digest and lake.artifact(digest, "webp")
        if not path or not path.is_file():
            raise DataError(
                f"version '{version}': the raw edit of {sample['key']} is not in the lake; take the lake that built "
                "the version, or set data.edit to 'pasted'"
            )
        pieces[sample["key"]] = Piece(str(path.relative_to(lake.root)), 0, -1, str(digest))
    return pieces
