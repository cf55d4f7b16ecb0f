"""Versions: what they share, what they leave out, and what no version may hold."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.build import build
from flows.compact import compact
from flows.gc import collect, retire_version, take_down
from flows.publish import publish
from flows.verify import verify
from schemas.errors import ProjectError, VersionError
from schemas.ids import sha256
from tasks import catalog, ledger
from tasks.deletions import deleted_keys
from tasks.diff import Diff, compare
from tasks.lake import Lake, open_lake
from tasks.leakage import leaks
from tasks.manifests import read_any_manifest, read_manifest
from tasks.pack import pack_shard
from tasks.preferences import PARTS as PREFERENCE_PARTS
from tasks.shards import decode_part, read_samples
from tasks.versions import keys_of, write_manifest
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


# Licences --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_licences(built: Built, tmp_path: Path) -> Path:
    """A lake of two products: one whose photos are CC0, one proprietary, and one photo without a licence."""
    lines = ["path,product,licence"]
    for product, licence in zip(sorted(built.photos.iterdir())[:2], ("CC0", "proprietary"), strict=True):
        for number, photo in enumerate(sorted(product.glob("*.jpg"))):
            shutil.copy2(photo, tmp_path / f"{product.name}-{photo.name}")
            lines.append(f"{product.name}-{photo.name},{product.name},{'' if number == 2 else licence}")
    (tmp_path / "photos.csv").write_text("\n".join(lines) + "\n")
    splits = ["splits.train=1", "splits.validation=0", "splits.benchmark=0"]
    build(str(tmp_path / "photos.csv"), str(tmp_path / "lake"), assignments=[*SMALL, *splits], version="v1")
    return tmp_path / "lake"


def test_only_named_licences_are_published_and_the_others_leave_the_shards(two_licences: Path) -> None:
    lake = open_lake(two_licences)
    everything = read_manifest(lake, "v1")
    assert set(everything["licences"]["target"]) == {"CC0", "proprietary", "not known"}
    manifest = publish("open", str(two_licences), ['publish.licences=["CC0"]'])
    assert manifest["licences"] == {side: {"CC0": manifest["samples"]} for side in ("target", "reference")}
    assert 0 < manifest["samples"] < everything["samples"]
    assert all(shard["deleted_sha256"] is None for shard in manifest["shards"])  # nothing stays behind a vector
    with pytest.raises(VersionError, match=r"licence 'CC-0': no photo bears it \(there are: CC0, proprietary\)"):
        publish("other", str(two_licences), ['publish.licences=["CC-0"]'])


# Leaks -----------------------------------------------------------------------------------------------------------


def publish_benchmark(lake: Lake, name: str, where: str) -> list[Row]:
    """Publish, as a benchmark, the samples of the lake that a condition picks; return them."""
    run = ledger.newest_run(lake)
    assert run is not None
    with catalog.plan_of_run(lake, run) as connection:
        samples = catalog.rows(
            connection, f"SELECT * FROM quadruplets WHERE accepted AND ({where}) ORDER BY quadruplet_id"
        )
    groups = sorted({row["split_group"] for row in samples})
    shards = [pack_shard(lake, [row for row in samples if row["split_group"] == group], 95) for group in groups]
    write_manifest(lake, name, shards, samples, None, run, ledger.settings_of(run), kind="benchmark")
    catalog.rebuild(lake)
    return samples


def test_a_sample_with_a_source_or_product_of_a_benchmark_is_refused_and_named(copied: Built) -> None:
    root = str(copied.lake.root)
    (one,) = ask(copied.lake.root, "SELECT * FROM quadruplets WHERE accepted AND split_group = 'train' LIMIT 1")
    publish_benchmark(copied.lake, "b1", f"quadruplet_id = '{one['quadruplet_id']}'")
    with pytest.raises(VersionError) as refused:
        publish("v2", root)
    assert "in 'b1'" in str(refused.value)
    assert "by its source" in str(refused.value)
    leaking = ask(copied.lake.root, 'SELECT DISTINCT quadruplet_id AS id, "by", what, version FROM leaks')
    same_product = ask(copied.lake.root, """SELECT quadruplet_id AS id FROM quadruplets
                       WHERE accepted AND product = ?""", one["product"])  # fmt: skip
    assert {row["id"] for row in leaking} == {row["id"] for row in same_product}
    assert {row["by"] for row in leaking} == {"source", "product"}
    assert {row["version"] for row in leaking} == {"b1"}
    manifest = publish("v2", root, leave_out_leaks=True)
    kept = {key for shard in manifest["shards"] for key in keys_of(copied.lake, shard)}
    assert kept
    assert not kept & {row["id"] for row in leaking}  # nor behind a deletion vector
    retire_version(copied.lake, "b1", "the next one is out", wait=0)
    with pytest.raises(VersionError, match="in 'b1'"):  # what a benchmark ever held
        publish("v3", root)


def test_a_photo_that_bridges_two_clusters_leaks_by_its_cluster(copied: Built) -> None:
    products = ask(copied.lake.root, """SELECT product, min(target_id) AS photo FROM quadruplets
                   WHERE accepted AND split_group = 'train' GROUP BY product ORDER BY product LIMIT 2""")  # fmt: skip
    held, other = products
    publish_benchmark(copied.lake, "b1", f"product = '{held['product']}'")
    run = ledger.newest_run(copied.lake)
    assert run is not None
    with catalog.plan_of_run(copied.lake, run) as connection:
        before = {row["what"] for row in leaks(connection) if row["by"] == "cluster"}
        photos = f"unnest(['{held['photo']}', '{other['photo']}']) AS image_id"
        connection.execute(f"""CREATE OR REPLACE TABLE clustered AS
            SELECT {photos}, NULL::VARCHAR AS product, 'bridged' AS cluster_id, true AS keeper, '' AS family_id,
                   'train' AS split_group""")
        after = [row for row in leaks(connection) if row["by"] == "cluster"]
        assert (before, {row["what"] for row in after}) == (set(), {"bridged"})
        sql = "SELECT quadruplet_id FROM quadruplets WHERE ? IN (target_id, reference_id) AND accepted"
        bridged = {row["quadruplet_id"] for row in catalog.rows(connection, sql, [other["photo"]])}
        assert bridged <= {row["quadruplet_id"] for row in after}
        sql = "SELECT DISTINCT target_id, cluster_id FROM samples WHERE cluster_id IS NOT NULL ORDER BY 1"
        both = sorted([held["photo"], other["photo"]])
        assert catalog.rows(connection, sql) == [{"target_id": one, "cluster_id": "bridged"} for one in both]


def test_nothing_is_published_past_a_benchmark_that_cannot_be_read(copied: Built) -> None:
    publish_benchmark(copied.lake, "b1", "split_group = 'benchmark' OR quadruplet_id < '2'")
    for shard in read_manifest(copied.lake, "b1")["shards"]:
        copied.lake.shard(shard["sha256"]).with_suffix(".parquet").unlink()
    with pytest.raises(VersionError, match=r"benchmark 'b1': only 0 of its .* `omnirefiner verify b1`"):
        publish("v2", str(copied.lake.root))


# Takedowns and collection ----------------------------------------------------------------------------------------


def made_of(root: Path, image_id: str) -> set[str]:
    found = ask(root, "SELECT quadruplet_id AS id FROM all_quadruplets WHERE ? IN (target_id, reference_id)", image_id)
    return {row["id"] for row in found}


@pytest.fixture
def photo(copied: Built) -> Row:
    """A photo that samples of v1 are made of."""
    return ask(copied.lake.root, """SELECT s.path, s.root, s.image_id, s.format FROM sources s
               JOIN quadruplets q ON q.target_id = s.image_id JOIN version_members USING (quadruplet_id)
               ORDER BY s.path LIMIT 1""")[0]  # fmt: skip


def test_what_is_taken_down_leaves_all_that_follows_and_is_not_taken_in_again(
    copied: Built, photo: Row, tmp_path: Path
) -> None:
    root = copied.lake.root
    gone = made_of(root, photo["image_id"])
    photos, holders = take_down(copied.lake, photo["path"], "a notice", dry_run=False, wait=0)
    assert [one.image_id for one in photos] == [photo["image_id"]]
    assert [(one.version, one.samples) for one in holders] == [("v1", len(gone & set(members(root, "v1"))))]
    for view, column in (("images", "image_id"), ("candidates", "target_id"), ("quadruplets", "target_id")):
        assert ask(root, f"SELECT * FROM {view} WHERE {column} = ?", photo["image_id"]) == []
    manifest = publish("v2", str(root))
    assert not gone & {key for shard in manifest["shards"] for key in keys_of(copied.lake, shard)}
    assert verify(None, str(root))[1] == []
    photos_again = tmp_path / "again" / "another product"
    photos_again.mkdir(parents=True)
    shutil.copy2(Path(photo["root"]) / photo["path"], photos_again / "renamed.jpg")
    build(str(photos_again.parent), str(root), assignments=SMALL)
    (refused,) = ask(root, "SELECT reason, detail FROM rejections WHERE path = 'another product/renamed.jpg'")
    assert refused == {"reason": "taken-down", "detail": "it was taken down: a notice"}
    catalog.rebuild(copied.lake)
    assert made_of(root, photo["image_id"]) == gone  # the ledger forgets nothing


def test_a_takedown_names_a_photo_a_product_or_bytes_that_are_still_to_come(copied: Built, photo: Row) -> None:
    lake, product = copied.lake, photo["path"].partition("/")[0]
    photos, _ = take_down(lake, product, "why", dry_run=True, wait=0)
    assert len(photos) == 3
    assert {one.product for one in photos} == {product}
    assert [one.path for one in take_down(lake, photo["image_id"], "why", dry_run=True, wait=0)[0]] == [photo["path"]]
    unknown = sha256(b"not here yet")
    assert [one.path for one in take_down(lake, unknown, "why", dry_run=True, wait=0)[0]] == ["not in the lake"]
    with pytest.raises(ProjectError, match="takedown nothing: no photo has this path"):
        take_down(lake, "nothing", "why", dry_run=True, wait=0)
    assert ask(lake.root, "SELECT * FROM taken_down") == []


def test_a_takedown_of_what_a_benchmark_holds_says_so(copied: Built, photo: Row) -> None:
    publish_benchmark(copied.lake, "b1", f"target_id = '{photo['image_id']}'")
    _, holders = take_down(copied.lake, photo["path"], "a notice", dry_run=False, wait=0)
    assert [(one.version, one.kind) for one in holders] == [("v1", "training"), ("b1", "benchmark")]


def files(lake: Lake) -> set[str]:
    return {str(path.relative_to(lake.root)) for path in lake.root.rglob("*") if path.is_file()}


def test_collection_marks_first_and_deletes_what_is_still_not_needed_later(copied: Built, photo: Row) -> None:
    lake = copied.lake
    assert collect(lake, days=0, wait=0).unneeded == {}
    take_down(lake, photo["path"], "a notice", dry_run=False, wait=0)
    publish("v2", str(lake.root))
    own = f"images/{photo['image_id'][:2]}/{photo['image_id']}.{photo['format']}"
    marked = collect(lake, days=None, wait=0)
    assert own in marked.unneeded
    assert not any(path.startswith("shards/") for path in marked.unneeded)  # v1 needs them
    assert [one.version for one in marked.held] == ["v1"]
    assert collect(lake, days=7, wait=0).deleted == []
    retire_version(lake, "v1", "a notice", wait=0)
    assert verify(None, str(lake.root))[1] == []
    done = collect(lake, days=0, wait=0)
    old, new = ({shard["sha256"] for shard in read_any_manifest(lake, name)["shards"]} for name in ("v1", "v2"))
    assert {f"shards/{one}.tar" for one in old - new} <= set(done.deleted)
    assert done.held == []
    assert not set(done.deleted) & files(lake)
    for made in ("target_sha256", "input_sha256", "raw_sha256", "mask_sha256"):
        sql = f"SELECT DISTINCT {made} AS id FROM all_quadruplets WHERE target_id = ?"
        assert not any(row["id"] in name for row in ask(lake.root, sql, photo["image_id"]) for name in files(lake))
    assert verify(None, str(lake.root))[1] == []
    assert build(str(copied.photos), str(lake.root), assignments=SMALL).funnel.failures == 0
    assert publish("v3", str(lake.root))["samples"] == read_manifest(lake, "v2")["samples"]
    with pytest.raises(VersionError, match="version 'v1': it is retired"):
        publish("v1", str(lake.root))


def test_a_retired_benchmark_keeps_its_indexes(copied: Built) -> None:
    lake = copied.lake
    publish_benchmark(lake, "b1", "split_group = 'train' AND category = 'text'")
    retire_version(lake, "b1", "out of date", wait=0)
    (shard,) = read_any_manifest(lake, "b1")["shards"]
    assert f"shards/{shard['sha256']}.tar" in collect(lake, days=0, wait=0).deleted
    assert lake.shard(shard["sha256"]).with_suffix(".parquet").exists()
    with pytest.raises(VersionError, match="in 'b1'"):
        publish("v2", str(lake.root))


# Compaction ------------------------------------------------------------------------------------------------------


def test_compaction_keeps_the_samples_byte_by_byte_in_fuller_shards(copied: Built, dropped: set[str]) -> None:
    lake, root = copied.lake, str(copied.lake.root)
    sparse = publish("v2", root)
    full = compact("v2", "v2-compact", 1.0, root)
    assert members(lake.root, "v2-compact") == members(lake.root, "v2")
    assert len(full["shards"]) <= len(sparse["shards"])
    assert full["bytes"] < sparse["bytes"]
    assert all(shard["deleted_sha256"] is None for shard in full["shards"])
    assert (full["parent"], full["counts"]) == ("v2", sparse["counts"])
    assert parts_of(lake, full) == parts_of(lake, sparse)
    assert verify(None, root)[1] == []
    with pytest.raises(VersionError, match="no shard of it is less than 90% full"):
        compact("v2-compact", "v4", 0.9, root, ["shards.samples=1"])


def parts_of(lake: Lake, manifest: Row) -> dict[str, dict[str, bytes]]:
    """Return the live samples of a version, undecoded."""
    return {
        sample.key: {name: part.data for name, part in sample.parts.items()}
        for shard in manifest["shards"]
        for sample in read_samples(lake.shard(shard["sha256"]))
        if sample.key not in deleted_keys(lake, shard)
    }


def test_what_was_taken_down_is_not_compacted_into_a_next_version(copied: Built, photo: Row) -> None:
    take_down(copied.lake, photo["path"], "a notice", dry_run=False, wait=0)
    with pytest.raises(VersionError, match=r"it holds samples that no next version may \(\d+ taken-down\)"):
        compact("v1", "v2", 1.0, str(copied.lake.root))


# Differences -----------------------------------------------------------------------------------------------------


def left(found: Diff, what: str) -> dict[tuple[str, str], int]:
    return {(one.stage, one.reason): one.samples for one in found.left if one.what == what}


def test_a_difference_says_by_which_rule_samples_were_dropped(copied: Built, dropped: set[str], photo: Row) -> None:
    root = str(copied.lake.root)
    publish("v2", root)
    found = compare(copied.lake, "v1", "v2")
    assert left(found, "dropped") == {("pair", "viewpoint"): len(dropped)}
    assert (found.added, found.rewritten) == (0, 0)
    assert found.unchanged == found.samples_after == found.samples_before - len(dropped)
    shifted = next(one for one in found.shifts if one.figure == "Pair: likeness of viewpoint")
    assert 0 < shifted.shift < 1
    back = compare(copied.lake, "v2", "v1")
    assert (back.added, back.dropped, back.left) == (len(dropped), 0, [])
    gone = made_of(copied.lake.root, photo["image_id"]) & set(members(copied.lake.root, "v2"))
    take_down(copied.lake, photo["path"], "a notice", dry_run=False, wait=0)
    publish("v3", root)
    assert left(compare(copied.lake, "v2", "v3"), "dropped") == {("takedown", "taken-down"): len(gone)}


def test_a_difference_says_what_was_made_anew_by_which_fingerprint(copied: Built) -> None:
    root = str(copied.lake.root)
    build(str(copied.photos), root, assignments=[*SMALL, "edit.strength=[0.9, 0.9]"])
    second = publish("v2", root)
    first = read_manifest(copied.lake, "v1")
    found = compare(copied.lake, "v1", "v2")
    was, now = (manifest["fingerprints"]["edit"][:8] for manifest in (first, second))
    assert set(left(found, "rewritten")) == {("edit", f"fingerprint {was} -> {now}")}
    assert found.rewritten + found.dropped + found.unchanged == first["samples"]
    assert found.rewritten + found.added + found.unchanged == second["samples"]
    strength = next(one for one in found.shifts if one.figure == "Strength asked for")
    assert (strength.after, found.shifts[0]) == ("median 0.9", strength)


def test_a_difference_tells_other_words_from_another_sample(built: Built, tmp_path: Path) -> None:
    shutil.copytree(next(path for path in sorted(built.photos.iterdir())), tmp_path / "thing")
    lines = [f"thing/{photo.name},thing,CC0" for photo in sorted((tmp_path / "thing").glob("*.jpg"))]
    manifest, root = tmp_path / "photos.csv", tmp_path / "lake"
    for version, licence in (("v1", "CC0"), ("v2", "CC-BY-4.0")):
        manifest.write_text("\n".join(["path,product,licence", *lines]).replace("CC0", licence) + "\n")
        build(str(manifest), str(root), assignments=SMALL, version=version)
    found = compare(open_lake(root), "v1", "v2")
    reason = ("listing", "facts of its photos, such as the licence")
    assert left(found, "rewritten") == {reason: found.samples_before}
    assert (found.added, found.dropped, found.unchanged) == (0, 0, 0)


# Preferences -----------------------------------------------------------------------------------------------------


def test_preferences_rank_the_executions_of_an_edit_whatever_their_settings(copied: Built) -> None:
    lake, root = copied.lake, str(copied.lake.root)
    faint = [
        "edit.strength=[0.05, 0.05]",
        "edit.min_filled=0.9",
    ]  # nearly all are refused, and their raw edits are kept
    build(str(copied.photos), root, assignments=[*SMALL, *faint])
    build(str(copied.photos), root, assignments=SMALL)
    manifest = publish("v2", root, ["publish.preferences=true"])
    found = [
        {part: decode_part(part, stored.data) for part, stored in sample.parts.items()}
        for shard in manifest["preferences"]
        for sample in read_samples(lake.shard(shard["sha256"]), PREFERENCE_PARTS)
    ]
    assert len(found) == sum(shard["samples"] for shard in manifest["preferences"]) > 0
    assert manifest["samples"] == read_manifest(lake, "v1")["samples"]  # which the second set adds nothing to
    sql = "SELECT target_id FROM quadruplets SEMI JOIN version_members USING (quadruplet_id)"
    targets = {row["target_id"] for row in ask(lake.root, sql)}
    changed = {"better": 0.0, "worse": 0.0}
    for one in found:
        told, target = one["json"], one["target.webp"].astype(float)
        assert told["target_image"] in targets
        assert told["better"]["score"] - told["worse"]["score"] >= 0.0999
        assert (told["better"]["status"], told["worse"]["status"]) != ("refused", "answered")
        assert told["better"]["fingerprint"] != told["worse"]["fingerprint"]
        for edit in (told["better"], told["worse"]):
            score = (edit["status"] == "answered") + edit["filled"] - edit["outside"]
            assert edit["score"] == pytest.approx(score, abs=1e-3)
        for side in ("better", "worse"):
            changed[side] += np.abs(one[f"{side}.webp"] - target)[one["mask.png"]].mean()
    assert changed["better"] > changed["worse"]
    assert {one["json"]["worse"]["status"] for one in found} >= {"refused"}
    assert verify(None, root)[1] == []
    assert {shard["sha256"] for shard in publish("v3", root, ["publish.preferences=true"])["preferences"]} == {
        shard["sha256"] for shard in manifest["preferences"]
    }
    assert collect(lake, days=0, wait=0).deleted == []
    harmed = lake.shard(manifest["preferences"][0]["sha256"])
    flip(harmed)
    assert f"shards/{harmed.name}" in {finding.where for finding in verify("v2", root)[1]}


# Verification ----------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap_indexes(lake: Lake) -> str:
    shards = read_manifest(lake, "v1")["shards"]
    one, other = (lake.shard(entry["sha256"]).with_suffix(".parquet") for entry in shards[:2])
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return f"shards/{one.name}"


def flip_a_bit(lake: Lake) -> str:
    path = lake.shard(read_manifest(lake, "v1")["shards"][0]["sha256"])
    flip(path)
    return f"shards/{path.name}"


def lose_a_shard(lake: Lake) -> str:
    path = lake.shard(read_manifest(lake, "v1")["shards"][0]["sha256"])
    path.unlink()
    return f"shards/{path.name}"


def edit_a_manifest(lake: Lake) -> str:
    path = lake.manifest("v1")
    path.write_text(path.read_text().replace('"kind": "training"', '"kind": "benchmark"'))
    return "versions/v1.json"


def put_an_old_catalogue_back(lake: Lake) -> str:
    old = lake.snapshot.read_bytes()
    publish("v2", str(lake.root))
    lake.snapshot.write_bytes(old)
    return "catalog.duckdb"


def put_a_catalogue_of_before_a_takedown_back(lake: Lake) -> str:
    old = lake.snapshot.read_bytes()
    take_down(lake, sha256(b"somebody's photo"), "a notice", dry_run=False, wait=0)
    lake.snapshot.write_bytes(old)
    return "catalog.duckdb"


@pytest.mark.parametrize(
    "harm",
    [flip_a_bit, lose_a_shard, edit_a_manifest, swap_indexes, put_an_old_catalogue_back,
     put_a_catalogue_of_before_a_takedown_back],
)  # fmt: skip
def test_every_harm_is_found_and_named(copied: Built, harm: Callable[[Lake], str]) -> None:
    where = harm(copied.lake)
    found = verify(None, str(copied.lake.root))[1]
    assert where in {finding.where for finding in found}
    if where == "catalog.duckdb":
        assert all("`omnirefiner rebuild`" in finding.what for finding in found)
        catalog.rebuild(copied.lake)
        assert verify(None, str(copied.lake.root))[1] == []
