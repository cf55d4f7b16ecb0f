"""Collect what nothing needs, and take down what must no longer be used: the lake's ways of letting go."""

from dataclasses import dataclass

from flows.hold import hold
from tasks import catalog
from tasks.lake import Lake
from tasks.takedowns import Holder, Photo, holders_of, photos_of, record_takedown, still_held
from tasks.unneeded import delete, forget_marks, mark, old_enough, unneeded
from tasks.versions import retire


@dataclass(frozen=True)
class Collected:
    """What nothing needs (bytes by path, and since when), what was deleted, and what still holds taken-down photos."""

    unneeded: dict[str, int]
    since: dict[str, str]
    deleted: list[str]
    held: list[Holder]


def collect(lake: Lake, *, days: float | None, wait: float) -> Collected:
    """Mark what nothing needs; delete what was marked `days` ago or earlier, if a number is given."""
    with hold(lake, wait):
        catalog.rebuild(lake)
        with catalog.read(lake) as connection:
            found, held = unneeded(lake, connection), still_held(connection)
        since = mark(lake, found)
        deleted = old_enough(since, days) if days is not None else []
        delete(lake, deleted)
    return Collected(found, since, deleted, held)


def take_down(lake: Lake, source: str, reason: str, *, dry_run: bool, wait: float) -> tuple[list[Photo], list[Holder]]:
    """Take down what a path, product or digest stands for; return the photos, and the versions that hold them."""
    if dry_run:
        with catalog.read(lake) as connection:
            photos = photos_of(connection, source)
            return photos, holders_of(connection, photos)
    with hold(lake, wait):
        catalog.rebuild(lake)
        with catalog.read(lake) as connection:
            photos = photos_of(connection, source)
            holders = holders_of(connection, photos)
        record_takedown(lake, source, photos, reason)
        catalog.rebuild(lake)
    return photos, holders


def retire_version(lake: Lake, version: str, reason: str, *, wait: float) -> None:
    """Retire a version."""
    with hold(lake, wait):
        forget_marks(lake)
        retire(lake, version, reason)
        catalog.rebuild(lake)
