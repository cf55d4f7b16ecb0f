"""What was computed for a photo is kept: a bounded memory keyed by the photo, safe among threads."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from schemas.records import Photo

Value = TypeVar("Value")

PHOTOS_KEPT = 2048  # about 550 kB each, all engines together


def once_a_photo(compute: Callable[[Photo], Value], capacity: int = PHOTOS_KEPT) -> Callable[[Photo], Value]:
    """Return `compute` with its last `capacity` answers kept by image id and size, the least recently used dropped.

    Two threads that ask for the same new photo at once may both compute it; they get equal answers.
    """
    kept: OrderedDict[tuple[str, tuple[int, ...]], Value] = OrderedDict()
    lock = Lock()

    def recall(photo: Photo) -> Value:
        key = (photo.image_id, photo.pixels.shape)
        with lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        value = compute(photo)
        with lock:
            kept[key] = value
            kept.move_to_end(key)
            if len(kept) > capacity:
                kept.popitem(last=False)
        return value

    return recall
