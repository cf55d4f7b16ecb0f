"""What was computed for a photo or a pair is kept: a bounded memory keyed by photos, safe among threads."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from schemas.records import Photo

Value = TypeVar("Value")

PHOTOS_KEPT = 2048  # about 550 kB each, all engines together
PAIRS_KEPT = 8192  # about 4 kB each


def once_a_photo(compute: Callable[[Photo], Value], capacity: int = PHOTOS_KEPT) -> Callable[[Photo], Value]:
    """Return `compute` with its last `capacity` answers kept by image id and size, the least recently used dropped.

    Two threads that ask for the same new photo at once may both compute it; they get equal answers.
    """
    recall = _kept(lambda photos: compute(*photos), capacity)
    return lambda photo: recall((photo,))


def once_a_pair(
    compute: Callable[[Photo, Photo], Value], capacity: int = PAIRS_KEPT
) -> Callable[[Photo, Photo], Value]:
    """Return `compute` with its last answers kept, as `once_a_photo` does, by target and reference."""
    recall = _kept(lambda photos: compute(*photos), capacity)
    return lambda target, reference: recall((target, reference))


def _kept(compute: Callable[[tuple[Photo, ...]], Value], capacity: int) -> Callable[[tuple[Photo, ...]], Value]:
    kept: OrderedDict[tuple[tuple[str, tuple[int, ...]], ...], Value] = OrderedDict()
    lock = Lock()

    def recall(photos: tuple[Photo, ...]) -> Value:
        key = tuple((photo.image_id, photo.pixels.shape) for photo in photos)
        with lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        value = compute(photos)
        with lock:
            kept[key] = value
            kept.move_to_end(key)
            if len(kept) > capacity:
                kept.popitem(last=False)
        return value

    return recall
