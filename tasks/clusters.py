"""Clusters of near-duplicates: what links join, within a cap; and families: clusters that products join.

Both are made anew from all links, and only what changed is recorded, so that the catalogue need not follow links. They
depend on the links alone: not on their order, nor on the runs in which they were found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from tasks.catalog import rows
from tasks.ledger import Row

VERSION = 1
STRICTEST_FIRST = ("benchmark", "validation", "train")


def changed_clusters(connection: duckdb.DuckDBPyConnection, cap: int) -> list[Row]:
    """Return what is to be recorded of images and of products now, where it differs from what is recorded."""
    links = rows(connection, "SELECT one_id, other_id, alike - unlike AS strength, similarity FROM duplicates")
    clusters = clusters_of(links, cap)
    # a file that lies in the folders of two products joins them, as a copy of it would
    shared = rows(connection, """SELECT image_id FROM taken SEMI JOIN listed ON listed.item_id = taken.source_id
                                 GROUP BY image_id HAVING count(DISTINCT product) > 1""")  # fmt: skip
    clusters |= {row["image_id"]: clusters.get(row["image_id"], row["image_id"]) for row in shared}
    sources = rows(
        connection,
        "SELECT DISTINCT image_id, product, split_group FROM taken WHERE image_id IN (SELECT unnest($images))",
        {"images": sorted(clusters)},
    )
    listed = rows(
        connection,
        """SELECT image_id, product, source_width * source_height AS pixels FROM images
           WHERE image_id IN (SELECT unnest($images))""",
        {"images": sorted(clusters)},
    )
    now = _told(
        clusters, sources, {clusters[row["image_id"]]: row["image_id"] for row in reversed(_best_first(listed))}
    )
    before = {(row["image_id"], row["product"]): row for row in rows(connection, "SELECT * FROM clustered")}
    gone = [{"image_id": image, "product": product} for image, product in before.keys() - now.keys()]
    changed = [row for key, row in now.items() if row != before.get(key)]
    return sorted(changed + gone, key=lambda row: (row["image_id"] or "", row["product"] or ""))


def _best_first(listed: Sequence[Row]) -> list[Row]:
    """Return photos by the rule for keepers: the most pixels in the file, then a known product, then the least id."""
    return sorted(listed, key=lambda row: (-row["pixels"], row["product"] is None, row["image_id"]))


def _told(
    clusters: Mapping[str, str], sources: Sequence[Row], keepers: Mapping[str, str]
) -> dict[tuple[str | None, str | None], Row]:
    """Return what there is to say of each image and of each product of a cluster."""
    families = families_of(clusters, sources)
    groups: dict[str, set[str]] = defaultdict(set)
    products: dict[str, str] = {}
    for row in sources:
        family = families[clusters[row["image_id"]]]
        groups[family].add(row["split_group"])
        if row["product"] is not None:
            products[row["product"]] = family
    strictest = {family: next(group for group in STRICTEST_FIRST if group in found) for family, found in groups.items()}
    told: dict[tuple[str | None, str | None], Row] = {}
    for image, cluster in clusters.items():
        family = families[cluster]
        told[image, None] = {
            "image_id": image, "product": None, "cluster_id": cluster, "keeper": keepers.get(cluster) == image,
            "family_id": family, "split_group": strictest[family],
        }  # fmt: skip
    for product, family in products.items():
        told[None, product] = {
            "image_id": None, "product": product, "cluster_id": None, "keeper": None, "family_id": family,
            "split_group": strictest[family],
        }  # fmt: skip
    return told


def clusters_of(links: Iterable[Row], cap: int) -> dict[str, str]:
    """Return the cluster of each linked image: the least id of the images that links join.

    The strongest links come first: those of the photos that fit best, then of the nearest embeddings. One that would
    make a cluster of more than `cap` photos is dropped.
    """
    joined = _Joined()
    weakest_last = sorted(
        links, key=lambda link: (-link["strength"], -link["similarity"], link["one_id"], link["other_id"])
    )
    for link in weakest_last:
        joined.join(link["one_id"], link["other_id"], cap)
    return joined.named()


def families_of(clusters: Mapping[str, str], sources: Sequence[Row]) -> dict[str, str]:
    """Return the family of each cluster: the least id of the clusters that photos of one product join."""
    joined = _Joined()
    of_product: dict[str, list[str]] = defaultdict(list)
    for row in sources:
        if row["product"] is not None:
            of_product[row["product"]].append(clusters[row["image_id"]])
    for cluster in clusters.values():
        joined.join(cluster, cluster)
    for members in of_product.values():
        for cluster in members:
            joined.join(members[0], cluster)
    return joined.named()


class _Joined:
    """Sets of ids that are joined two by two (union-find)."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}
        self.sizes: dict[str, int] = {}

    def root(self, id: str) -> str:
        root = self.parents.setdefault(id, id)
        while root != self.parents[root]:
            root = self.parents[root]
        while id != root:
            self.parents[id], id = root, self.parents[id]
        return root

    def join(self, one: str, other: str, cap: int | None = None) -> None:
        first, second = self.root(one), self.root(other)
        size = self.sizes.get(first, 1) + self.sizes.get(second, 1)
        if first != second and (cap is None or size <= cap):
            less, more = sorted((first, second))  # the least id is the root, and so the name
            self.parents[more], self.sizes[less] = less, size

    def named(self) -> dict[str, str]:
        return {id: self.root(id) for id in list(self.parents)}
