"""What there is to tell of near-duplicates: how many, and the largest clusters with their photos."""

from __future__ import annotations

from typing import Any

import duckdb
from pydantic import BaseModel

from tasks.catalog import rows


class Counts(BaseModel):
    """How many images are listed, pairs were compared, links found, clusters made of them, and photos set aside."""

    images: int
    pairs_compared: int
    links: int
    clusters: int
    set_aside: int
    bridges: int  # clusters whose photos are of several products


class Member(BaseModel):
    """A photo of a cluster."""

    image_id: str
    path: str
    product: str | None
    pixels: int  # of its file
    photo_sha256: str
    keeper: bool


class Cluster(BaseModel):
    """A cluster: its photos, the keeper first."""

    cluster_id: str
    split_group: str
    weakest: float | None  # the least share that fits, of its links
    members: list[Member]

    def row(self) -> dict[str, Any]:
        """Return what a table says of it."""
        products = sorted({member.product or "unknown" for member in self.members})
        return {
            "cluster": self.cluster_id[:12],
            "photos": len(self.members),
            "products": ", ".join(products),
            "split_group": self.split_group,
            "weakest": self.weakest,
            "keeper": self.members[0].path,
            "others": ", ".join(member.path for member in self.members[1:]),
        }


def counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    """Count what the catalogue holds."""
    sql = """SELECT (SELECT count(*) FROM images) AS images, (SELECT count(*) FROM compared) AS pairs_compared,
                    (SELECT count(*) FROM duplicates) AS links,
                    (SELECT count(DISTINCT cluster_id) FROM clusters WHERE size > 1) AS clusters,
                    (SELECT count(*) FROM clusters WHERE NOT keeper) AS set_aside,
                    (SELECT count(*) FROM (SELECT cluster_id FROM clusters JOIN sources USING (image_id)
                     GROUP BY cluster_id HAVING count(DISTINCT product) > 1)) AS bridges"""
    return Counts(**rows(connection, sql)[0])


def largest(connection: duckdb.DuckDBPyConnection, count: int) -> list[Cluster]:
    """Return the largest clusters of photos that are listed now, those of one size by their ids."""
    sql = """WITH chosen AS (
                 SELECT cluster_id, max(size) AS size FROM clusters WHERE size > 1
                 GROUP BY cluster_id ORDER BY size DESC, cluster_id LIMIT $count)
             SELECT c.cluster_id, c.image_id, c.keeper, i.product, i.split_group, i.photo_sha256,
                    i.source_width * i.source_height AS pixels, s.path
             FROM clusters c JOIN chosen USING (cluster_id) JOIN images i USING (image_id)
             JOIN (SELECT image_id, min(path) AS path FROM sources GROUP BY image_id) s USING (image_id)
             ORDER BY chosen.size DESC, c.cluster_id, NOT c.keeper, s.path"""
    weakest = {
        row["cluster_id"]: row["weakest"]
        for row in rows(
            connection,
            """SELECT c.cluster_id, min(d.alike) AS weakest FROM duplicates d
               JOIN clusters c ON c.image_id = d.one_id
               JOIN clusters o ON o.image_id = d.other_id AND o.cluster_id = c.cluster_id GROUP BY c.cluster_id""",
        )
    }
    found: dict[str, Cluster] = {}
    for row in rows(connection, sql, {"count": count}):
        cluster_id, split_group = row.pop("cluster_id"), row.pop("split_group")
        if cluster_id not in found:
            found[cluster_id] = Cluster(
                cluster_id=cluster_id, split_group=split_group, weakest=weakest.get(cluster_id), members=[]
            )
        found[cluster_id].members.append(Member(**row))
    return list(found.values())
