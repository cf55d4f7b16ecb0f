"""A reviewer's session: the items drawn for it, and what is said of them. Safe to ask from several threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmark.review.items import PICTURES, Drawn, Order, draw, facts
from benchmark.review.verdicts import Verdicts
from schemas.errors import ProjectError
from schemas.reviews import REASONS, Kind, Name, Review
from tasks.catalog import read
from tasks.lake import Lake
from tasks.ledger import Row


@dataclass
class Session:
    """One reviewer, one lake, the items that are looked at."""

    lake: Lake
    reviewer: str
    drawn: Drawn
    verdicts: Verdicts
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        names = PICTURES[self.drawn.kind]
        self.pictures = frozenset(row[f"{name}_sha256"] for row in self.drawn.rows for name in names)

    def about(self) -> dict[str, Any]:
        """Return what the page needs to know of the session, as JSON: who, what, and what was said so far."""
        with self._one_at_a_time:
            items = [self._mine(number) for number in range(len(self.drawn.rows))]
        return {
            "kind": self.drawn.kind,
            "reviewer": self.reviewer,
            "lake": self.lake.root.name,
            "reasons": REASONS[self.drawn.kind],
            "items": items,
        }

    def item(self, number: int) -> dict[str, Any]:
        """Return all that is shown of an item, as JSON. Raises ArtifactError where its mask cannot be read."""
        shown = facts(self.lake, self.drawn.kind, self.drawn.rows[number])
        with self._one_at_a_time:
            self.verdicts.look()
            return shown | self._said(number)

    def judge(self, number: int, said: dict[str, Any]) -> dict[str, Any]:
        """Write a verdict on an item; return it, and now that it is given, what others said.

        `said` has a verdict, and for a drop a reason, and perhaps a note. Raises ValueError where it is none, and
        LakeError where the disk does not take it.
        """
        item_id, shown = self.drawn.item(number)
        about = {"kind": self.drawn.kind, "item_id": item_id, "shown": shown, "reviewer": self.reviewer}
        review = Review.model_validate(said | about)
        with self._one_at_a_time:
            self.verdicts.look()
            self.verdicts.record(review)
            return self._said(number)

    def judged(self) -> int:
        """Return how many of the items the reviewer has judged."""
        with self._one_at_a_time:
            return sum(self._mine(number) is not None for number in range(len(self.drawn.rows)))

    def _mine(self, number: int) -> dict[str, Any] | None:
        mine = self.verdicts.of(self.drawn.item(number)).get(self.reviewer)
        return None if mine is None else _told(mine) | {"sequence": mine["sequence"]}

    def _said(self, number: int) -> dict[str, Any]:
        """Return the reviewer's own verdict and, so that they do not lead, only beside it those of others."""
        mine = self._mine(number)
        said = self.verdicts.of(self.drawn.item(number)).items()
        others = {name: _told(row) for name, row in said if mine is not None and name != self.reviewer}
        return {"mine": mine, "others": others}


def open_session(
    lake: Lake, kind: Kind, reviewer: str, where: str = "true", count: int = 100, order: Order = Order.DIGEST
) -> Session:
    """Draw items for a reviewer. Raises ProjectError where the name is none or there is nothing to look at."""
    try:
        name = TypeAdapter(Name).validate_python(reviewer)
    except ValidationError:
        raise ProjectError(f"review: {reviewer!r} is no name; give one of 1 to 60 letters") from None
    verdicts = Verdicts(lake, kind)
    with read(lake) as connection:
        drawn = draw(connection, verdicts, kind, name, where, count, order)
    if not drawn.rows:
        raise ProjectError(f"review: no {kind}s where {where}; see `omnirefiner status`")
    return Session(lake, name, drawn, verdicts)


def _told(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("verdict", "reason", "note")}
