"""Versions: what they share, what they leave out, and what no version may hold."""

from pathlib import Path
from typing import Any

import pytest

from flows.build import build
from flows.publish import publish
from flows.verify import verify
from tasks import catalog
from tasks.deletions import deleted_keys
from tasks.lake import open_lake
from tasks.manifests import read_manifest
from tests.conftest import SMALL, Built

Row = dict[str, Any]


def ask(root: Path, sql: str, *parameters: Any) -> list[Row]:
    with catalog.read(open_lake(root)) as connection:
        return catalog.rows(connection, sql, parameters)


def members(root: Path, version: str) -> list[str]:
    found = ask(root, "SELECT quadruplet_id AS id FROM version_members WHERE version = ? ORDER BY 1", version)
    return [row["id"] for row in found]


@pytest.fixture
def dropped(copied: Built) -> set[str]:
    """Build again under a cut that the worst pair of a shard does not pass; return the samples that this takes away."""
    root = copied.lake.root
    (cut,) = ask(root, """SELECT min(viewpoint) AS least FROM quadruplets JOIN pairs USING (pair_id)
                          JOIN version_members USING (quadruplet_id)""")  # fmt: skip
    before = set(members(root, "v1"))
    build(str(copied.photos), str(root), assignments=[*SMALL, f"pair.min_viewpoint={cut['least'] + 1e-4}"])
    now = {row["quadruplet_id"] for row in ask(root, "SELECT quadruplet_id FROM quadruplets WHERE accepted")}
    assert before - now and before & now
    return before - now


def test_what_is_dropped_goes_into_a_deletion_vector(copied: Built, dropped: set[str]) -> None:
    root = copied.lake.root
    first, second = read_manifest(copied.lake, "v1"), publish("v2", str(root))
    assert [shard["sha256"] for shard in second["shards"]] == [shard["sha256"] for shard in first["shards"]]
    assert set().union(*(deleted_keys(copied.lake, shard) for shard in second["shards"])) == dropped
    assert set(members(root, "v2")) == set(members(root, "v1")) - dropped
    assert second["samples"] == len(members(root, "v2")) == sum(shard["live"] for shard in second["shards"])
    assert second["content"] != first["content"]
    assert verify(None, str(root))[1] == []


def test_what_was_dropped_and_is_wanted_again_comes_back_without_a_byte(copied: Built, dropped: set[str]) -> None:
    root = str(copied.lake.root)
    publish("v2", root)
    build(str(copied.photos), root, assignments=SMALL)
    assert publish("v3", root)["shards"] == read_manifest(copied.lake, "v1")["shards"]


def test_a_shard_of_which_too_little_lives_is_written_anew(copied: Built, dropped: set[str]) -> None:
    root = copied.lake.root
    first, second = read_manifest(copied.lake, "v1"), publish("v2", str(root), ["shards.min_live=1"])
    assert all(shard["deleted_sha256"] is None for shard in second["shards"])
    assert {shard["sha256"] for shard in first["shards"]} != {shard["sha256"] for shard in second["shards"]}
    assert set(members(root, "v2")) == set(members(root, "v1")) - dropped
    assert verify(None, str(root))[1] == []


def test_a_lost_deletion_vector_is_named_and_brings_nothing_back(copied: Built, dropped: set[str]) -> None:
    root = copied.lake.root
    manifest = publish("v2", str(root))
    vector = next(shard["deleted_sha256"] for shard in manifest["shards"] if shard["deleted_sha256"])
    copied.lake.deletions(vector).unlink()
    catalog.rebuild(copied.lake)
    assert not dropped & set(members(root, "v2"))
    assert f"deletions/{vector}.parquet" in {finding.where for finding in verify("v2", str(root))[1]}
