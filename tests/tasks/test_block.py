import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import digest, stream
from schemas.settings import Pair
from tasks.block import block, block_item
from tasks.ledger import Row

PAIR = Pair(neighbours=3, siblings=4)


def image(number: int, product: str | None, split_group: str = "train") -> Row:
    vector = np.abs(stream(7, product, number % 3 if product is None else number).normal(size=32)) + 0.05 * number
    vector /= np.linalg.norm(vector)
    return {"image_id": digest(number), "product": product, "split_group": split_group,
            "vector": vector.astype("<f2").tobytes()}  # fmt: skip


def items(images: list[Row]) -> list[str]:
    return [block_item(row["image_id"], row["product"]) for row in images]


def proposed(new: list[Row], everyone: list[Row], pair: Pair = PAIR) -> list[Row]:
    return [candidate for row in block(items(new), everyone, pair) for candidate in row["pairs"]]


def test_photos_of_a_known_product_meet_only_their_siblings() -> None:
    images = [image(n, product) for n, product in enumerate(["mug"] * 4 + ["box"] * 3 + [None] * 5)]
    product_of = {row["image_id"]: row["product"] for row in images}
    candidates = proposed(images, images)
    assert candidates
    assert all(product_of[c["target_id"]] == product_of[c["reference_id"]] for c in candidates)
    assert all(c["known_same"] == (product_of[c["target_id"]] is not None) for c in candidates)
    assert len({c["pair_id"] for c in candidates if product_of[c["target_id"]] == "mug"}) == 6


def test_no_pair_crosses_split_groups() -> None:
    images = [image(n, "mug", "train" if n % 2 else "benchmark") for n in range(6)]
    group_of = {row["image_id"]: row["split_group"] for row in images}
    assert all(group_of[c["target_id"]] == group_of[c["reference_id"]] for c in proposed(images, images))


def test_one_new_photo_costs_only_its_own_pairs() -> None:
    images = [image(n, None) for n in range(12)]
    new = images[-1:]
    for candidate in proposed(new, images):
        assert new[0]["image_id"] in (candidate["target_id"], candidate["reference_id"])


def test_a_pair_has_one_id_and_one_target_whoever_proposes_it() -> None:
    images = [image(n, "mug") for n in range(4)]
    sides: dict[str, set[tuple[str, str]]] = {}
    for candidate in proposed(images, images):
        sides.setdefault(candidate["pair_id"], set()).add((candidate["target_id"], candidate["reference_id"]))
    assert all(len(found) == 1 for found in sides.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.permutations(range(8)))
def test_the_order_of_photos_does_not_matter(count: int, order: list[int]) -> None:
    images = [image(n, None) for n in range(count)]
    shuffled = [images[n] for n in order if n < count] + [one for n, one in enumerate(images) if n not in order]
    assert list(map(_answer, block(items(images), images, PAIR))) == list(
        map(_answer, block(items(shuffled), shuffled, PAIR))
    )


def _answer(row: Row) -> tuple[str, list[Row]]:
    return row["item_id"], row["pairs"]


def test_past_a_few_thousand_photos_cells_still_find_nearly_all_true_neighbours() -> None:
    directions = stream(1).normal(size=(1100, 32)).astype(np.float32)
    images = []
    for n in range(4400):  # 1,100 products of four photos each, near to each other
        vector = directions[n // 4] + 0.15 * stream(2, n).normal(size=32)
        vector /= np.linalg.norm(vector)
        images.append({"image_id": digest(n), "product": None, "split_group": "train",
                       "vector": vector.astype("<f2").tobytes()})  # fmt: skip
    product_of = {row["image_id"]: n // 4 for n, row in enumerate(images)}
    pairs = {(c["target_id"], c["reference_id"]) for c in proposed(images, images)}
    same = sum(product_of[target] == product_of[reference] for target, reference in pairs)
    assert len(pairs) < 3 * 4400
    assert same >= 0.98 * 6 * 1100
