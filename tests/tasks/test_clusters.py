"""Clusters and families, by links and products alone."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import stream
from tasks.clusters import clusters_of, families_of
from tasks.ledger import Row


def link(one: str, other: str, strength: float = 1.0) -> Row:
    one, other = sorted((one, other))
    return {"one_id": one, "other_id": other, "strength": strength, "similarity": 0.9}


def links_of(seed: int, images: int, count: int) -> list[Row]:
    draw = stream(seed, "links")
    found = {}
    for _ in range(count):
        one, other = (f"{int(n):03d}" for n in draw.choice(images, 2, replace=False))
        row = link(one, other, round(float(draw.random()), 1))
        found[row["one_id"], row["other_id"]] = row
    return list(found.values())


def members(clusters: dict[str, str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for image, cluster in clusters.items():
        found[cluster].add(image)
    return found


LINKS = st.builds(links_of, st.integers(0, 2**32), st.integers(2, 40), st.integers(0, 60))


@settings(deadline=None)
@given(LINKS, st.integers(2, 12), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_the_order_of_links(links: list[Row], cap: int, random: object) -> None:
    mixed = list(links)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert clusters_of(mixed, cap) == clusters_of(links, cap)


@settings(deadline=None)
@given(LINKS, st.integers(2, 12))
def test_no_cluster_is_over_the_cap_and_each_bears_its_least_id(links: list[Row], cap: int) -> None:
    for cluster, images in members(clusters_of(links, cap)).items():
        assert len(images) <= cap
        assert cluster == min(images)


@settings(deadline=None)
@given(LINKS)
def test_within_the_cap_all_that_is_linked_is_in_one_cluster(links: list[Row]) -> None:
    clusters = clusters_of(links, len(links) + 2)
    assert all(clusters[row["one_id"]] == clusters[row["other_id"]] for row in links)


def test_over_the_cap_the_weakest_link_is_dropped() -> None:
    chain = [link("a", "b", 0.9), link("b", "c", 0.8), link("c", "d", 0.95)]
    assert clusters_of(chain, 4) == dict.fromkeys("abcd", "a")
    assert clusters_of(chain, 3) == {"a": "a", "b": "a", "c": "c", "d": "c"}


def source(image: str, product: str | None) -> Row:
    return {"image_id": image, "product": product, "split_group": "train"}


def test_products_join_clusters_to_families_and_unknown_ones_do_not() -> None:
    clusters = {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e", "f": "e"}
    sources = [source("a", "mug"), source("b", "cup"), source("c", "cup"), source("d", None), source("e", None)]
    assert families_of(clusters, sources) == {"a": "a", "c": "a", "e": "e"}
