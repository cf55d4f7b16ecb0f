"""What reviewers said, read from the ledger and written to it, beside whatever else is writing to the lake.

A verdict needs no writer's place: it is a whole file of its own, put where there is none, under a name that nobody else
will give: the reviewer's count and a random part.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterable
from pathlib import Path

from schemas.reviews import Review, Said
from tasks import ledger
from tasks.code import code_version
from tasks.lake import Lake
from tasks.ledger import Row

Item = tuple[str, str | None]  # its id, and what was shown of it


class Verdicts:
    """The newest verdict of each reviewer on each item of one kind. Sees what others write when it is told to look."""

    def __init__(self, lake: Lake, kind: str) -> None:
        self._lake = lake
        self._kind = kind
        self._read: set[Path] = set()
        self._newest: dict[Item, dict[str, Row]] = {}
        self._counts: dict[str, int] = {}  # reviewer -> the highest number that a verdict of theirs bears
        self.look()

    def look(self) -> None:
        """Read what was written since. Raises LakeError where a file cannot be read."""
        new = [path for path in ledger.files(self._lake, "reviews") if path not in self._read]
        self._take(row for path in new for row in ledger.read(self._lake, "reviews", path))
        self._read.update(new)

    def of(self, item: Item) -> dict[str, Row]:
        """Return what was said last of an item, by reviewer; what was undone was not said."""
        found = self._newest.get(item, {})
        return {name: row for name, row in sorted(found.items()) if row["verdict"] != Said.UNDONE}

    def items(self) -> list[Item]:
        """Return the items of which anything was said."""
        return [item for item in self._newest if self.of(item)]

    def record(self, review: Review) -> None:
        """Write a verdict, durably; from here on it holds. Raises LakeError where the disk does not take it."""
        sequence = self._counts.get(review.reviewer, 0) + 1
        row = {
            **review.model_dump(mode="json"),
            "sequence": sequence,
            "at": datetime.datetime.now(datetime.UTC),
            "code": code_version(),
        }
        ledger.write(self._lake, "reviews", f"{sequence:08d}", secrets.token_hex(8), [row])
        self._take([row])

    def _take(self, rows: Iterable[Row]) -> None:
        for row in rows:
            name = row["reviewer"]
            self._counts[name] = max(row["sequence"], self._counts.get(name, 0))
            if row["kind"] != self._kind:
                continue
            said = self._newest.setdefault((row["item_id"], row["shown"]), {})
            if name not in said or _order(said[name]) < _order(row):
                said[name] = row


def _order(row: Row) -> tuple[int, datetime.datetime]:
    return row["sequence"], row["at"]
