import numpy as np

from schemas.records import Photo
from tasks.engines.once import once_a_pair, once_a_photo


def photo(name: str, side: int = 4) -> Photo:
    return Photo(name, np.zeros((side, side, 3), dtype=np.uint8))


def test_an_answer_is_computed_once_and_the_least_used_is_dropped() -> None:
    asked: list[str] = []

    def name_of(one: Photo) -> str:
        asked.append(one.image_id)
        return one.image_id

    recall = once_a_photo(name_of, capacity=2)
    assert [recall(photo(name)) for name in "abab"] == list("abab")
    assert asked == ["a", "b"]
    recall(photo("c"))  # drops a, which was used before b
    recall(photo("b"))
    recall(photo("a"))
    assert asked == ["a", "b", "c", "a"]


def test_the_same_photo_at_another_size_is_another_photo() -> None:
    recall = once_a_photo(lambda one: one.pixels.shape[0])
    assert (recall(photo("a", 4)), recall(photo("a", 8))) == (4, 8)


def test_a_pair_is_kept_in_its_order() -> None:
    asked: list[str] = []

    def names_of(target: Photo, reference: Photo) -> str:
        asked.append(target.image_id + reference.image_id)
        return asked[-1]

    recall = once_a_pair(names_of)
    assert [recall(photo(target), photo(reference)) for target, reference in ("ab", "ba", "ab")] == ["ab", "ba", "ab"]
    assert asked == ["ab", "ba"]
