import json
import os
import shutil
import tarfile
from pathlib import Path

import httpx
import pytest

import flows.build
from flows.build import build
from flows.publish import publish
from flows.verify import verify
from schemas.errors import StageStopped, VersionError
from schemas.records import EngineFailure
from tasks import catalog, pair
from tasks.codecs import load_mask, load_photo
from tasks.lake import open_lake
from tasks.ledger import Row, files
from tasks.summary import Summary
from tasks.why import story
from tests.conftest import SMALL, Built

STAGES = ("ingest", "embed", "resemble", "dedup", "block", "pair", "instruct", "edit", "restore")


def asked(summary: Summary) -> dict[str, int]:
    """Return how many items each stage worked on."""
    return {step.stage: step.items for step in summary.steps}


def ask(root: Path, sql: str) -> list[Row]:
    with catalog.read(open_lake(root)) as connection:
        return catalog.rows(connection, sql)


def shards_of(root: Path, version: str) -> list[str]:
    manifest = json.loads((root / "versions" / f"{version}.json").read_bytes())
    return [shard["sha256"] for shard in manifest["shards"]]


def test_photos_become_quadruplets_that_a_version_holds(built: Built) -> None:
    funnel = built.summary.funnel
    assert funnel.photos == 18
    assert funnel.quadruplets >= 18
    assert len(funnel.by_task) == 2
    assert len(funnel.by_category) >= 3
    versions, findings = verify(None, str(built.lake.root))
    assert findings == []
    assert [manifest["samples"] for manifest in versions] == [funnel.quadruplets - funnel.held_back]


def test_every_item_has_an_answer(built: Built) -> None:
    for step in built.summary.steps:
        assert step.items == step.answered + step.refused
        assert step.failed == 0


def test_the_input_is_the_target_outside_the_mask_and_differs_within(built: Built) -> None:
    for row in ask(built.lake.root, "SELECT * FROM quadruplets"):
        input, target = (load_photo(built.lake, row[name]) for name in ("input_sha256", "target_sha256"))
        mask = load_mask(built.lake, row["mask_sha256"])
        assert (input == target)[~mask].all()
        assert (input != target)[mask].any(axis=-1).mean() > 0.5
        assert 0 < row["mask_area"] < 0.5


def test_pairs_show_one_product(built: Built) -> None:
    sql = """SELECT t.product AS target, r.product AS reference FROM pairs
             JOIN images t ON t.image_id = target_id JOIN images r ON r.image_id = reference_id WHERE accepted"""
    assert all(row["target"] == row["reference"] for row in ask(built.lake.root, sql))


def test_the_benchmark_reserve_is_not_published(built: Built) -> None:
    sql = "SELECT DISTINCT split_group FROM version_members JOIN quadruplets USING (quadruplet_id)"
    assert "benchmark" not in {row["split_group"] for row in ask(built.lake.root, sql)}


def test_a_second_run_with_nothing_new_does_no_stage_work(copied: Built) -> None:
    before = {stage: files(copied.lake, stage) for stage in STAGES}
    summary = build(str(copied.photos), str(copied.lake.root), assignments=SMALL)
    assert asked(summary) == dict.fromkeys(STAGES, 0)
    assert {stage: files(copied.lake, stage) for stage in STAGES} == before
    assert summary.funnel == copied.summary.funnel


def test_one_new_photo_costs_only_its_own_pairs(copied: Built, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(copied.photos, photos)
    product = sorted(path for path in photos.iterdir() if path.is_dir())[0]
    held = product / "00.jpg"
    kept = held.read_bytes()
    held.unlink()
    lake = tmp_path / "other"
    build(str(photos), str(lake), assignments=SMALL)
    held.write_bytes(kept)
    summary = build(str(photos), str(lake), assignments=SMALL)
    assert asked(summary)["ingest"] == asked(summary)["embed"] == asked(summary)["block"] == 1
    assert asked(summary)["pair"] == 2
    new = ask(lake, f"SELECT image_id FROM sources WHERE path = '{product.name}/00.jpg'")[0]["image_id"]
    latest = ask(lake, f"SELECT target_id, reference_id FROM pairs WHERE run_id = '{summary.run_id}'")
    assert all(new in (row["target_id"], row["reference_id"]) for row in latest)
    assert summary.funnel.pairs_compared == copied.summary.funnel.pairs_compared


def test_a_setting_of_a_stage_redoes_it_and_what_follows_and_going_back_is_free(copied: Built) -> None:
    root = str(copied.lake.root)
    changed = build(str(copied.photos), root, assignments=[*SMALL, "edit.strength=[0.9, 0.9]"])
    assert [asked(changed)[stage] for stage in ("ingest", "embed", "block", "pair", "instruct")] == [0] * 5
    assert asked(changed)["edit"] == copied.summary.funnel.instructions
    assert asked(changed)["restore"] == changed.funnel.edits
    back = build(str(copied.photos), root, assignments=SMALL)
    assert sum(asked(back).values()) == 0
    assert back.funnel == copied.summary.funnel


def test_a_stricter_cut_asks_the_judge_nothing(copied: Built) -> None:
    assignments = [*SMALL, "pair.min_viewpoint=0.99"]
    summary = build(str(copied.photos), str(copied.lake.root), assignments=assignments)
    assert sum(asked(summary).values()) == 0
    assert summary.funnel.pairs < copied.summary.funnel.pairs
    assert summary.funnel.refused["pair"]["viewpoint"] > 0


def test_the_same_photos_give_the_same_shards_in_another_lake_with_other_workers(built: Built, tmp_path: Path) -> None:
    root = tmp_path / "lake"
    assignments = [*SMALL, "run.workers=1", "run.chunk_seconds=0.2"]
    build(str(built.photos), str(root), assignments=assignments, version="again")
    assert shards_of(root, "again") == shards_of(built.lake.root, "v1")


def test_a_flat_folder_of_unknown_products_works(built: Built, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for photo in sorted(built.photos.glob("*/*.jpg"))[:9]:
        shutil.copy(photo, flat / f"{photo.parent.name}-{photo.name}")
    summary = build(str(flat), str(tmp_path / "lake"), assignments=SMALL)
    assert summary.funnel.pairs_compared > summary.funnel.pairs > 0
    assert summary.funnel.quadruplets > 0
    assert summary.funnel.held_back == 0
    assert ask(tmp_path / "lake", "SELECT DISTINCT product, split_group FROM sources") == [
        {"product": None, "split_group": "train"}
    ]


def test_a_manifest_and_a_limit_work(built: Built, tmp_path: Path) -> None:
    photos = [shutil.copy(photo, tmp_path) for photo in sorted(next(built.photos.iterdir()).glob("*.jpg"))]
    lines = [f"{photo},thing,CC0,north" for photo in photos]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["path,product,licence,shop", *lines]) + "\n")
    summary = build(str(manifest), str(tmp_path / "lake"), assignments=SMALL, limit=2)
    assert summary.funnel.photos == 2
    sources = ask(tmp_path / "lake", "SELECT product, licence, extra FROM sources")
    assert {(row["product"], row["licence"], row["extra"]) for row in sources} == {
        ("thing", "CC0", '{"shop": "north"}')
    }


def test_bad_files_are_refused_with_a_reason_and_stop_nothing(built: Built, tmp_path: Path) -> None:
    photos = tmp_path / "photos" / "thing"
    shutil.copytree(next(path for path in built.photos.iterdir() if path.is_dir()), photos)
    (photos / "empty.jpg").touch()
    (photos / "page.jpg").write_text("<html></html>")
    (photos / "cut.jpg").write_bytes((photos / "00.jpg").read_bytes()[:3000])
    (photos / "again.jpg").write_bytes((photos / "00.jpg").read_bytes())
    (photos / "out.jpg").symlink_to(built.photos / "truth.jsonl")
    (photos / "folder.jpg").mkdir()
    summary = build(str(tmp_path / "photos"), str(tmp_path / "lake"), assignments=SMALL)
    reasons = dict.fromkeys(("broken", "empty", "not-a-file", "not-an-image", "outside"), 1)
    assert summary.funnel.refused["ingest"] == reasons
    assert (summary.funnel.photos, summary.funnel.images) == (4, 3)
    again = build(str(tmp_path / "photos"), str(tmp_path / "lake"), assignments=SMALL)
    assert sum(asked(again).values()) == 0


@pytest.mark.parametrize(
    "trouble",
    [
        EngineFailure("connection refused"),
        ConnectionRefusedError(111, "connection refused"),
        TimeoutError("connection refused"),
        httpx.ConnectError("connection refused"),
    ],
)
def test_an_engine_that_is_down_fails_items_and_the_next_run_asks_them_again(
    trouble: Exception, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down:
        def judge_pairs(self, questions: list[object]) -> list[EngineFailure]:
            if not isinstance(trouble, EngineFailure):
                raise trouble
            return [trouble for _ in questions]

    lake = str(tmp_path / "lake")
    with monkeypatch.context() as patched:
        patched.setattr(pair, "load_writer", lambda _settings, _memory: Down())
        with pytest.raises(StageStopped, match=r"stage pair: .* failures in a row.*connection refused"):
            build(str(built.photos), lake, assignments=[*SMALL, "run.failures_in_a_row=3"], limit=6)
    failed = ask(tmp_path / "lake", "SELECT stage, reason, detail FROM failures")
    assert {row["stage"] for row in failed} == {"pair"}
    assert all("connection refused" in row["detail"] for row in failed)
    assert ask(tmp_path / "lake", "SELECT * FROM rejections WHERE stage = 'pair'") == []
    summary = build(str(built.photos), lake, assignments=SMALL, limit=6)
    assert summary.funnel.failures == 0
    assert summary.funnel.pairs_compared == len(failed)
    assert asked(summary)["ingest"] == 0


def test_a_version_never_changes_and_an_empty_one_is_refused(copied: Built) -> None:
    with pytest.raises(VersionError, match="name is taken"):
        publish("v1", str(copied.lake.root))
    with pytest.raises(VersionError, match="a name has letters"):
        publish("../v2", str(copied.lake.root))
    build(
        str(copied.photos), str(copied.lake.root), assignments=[*SMALL, "pair.min_same_product=1", "pair.min_style=1"]
    )
    with pytest.raises(VersionError, match="no quadruplets to publish"):
        publish("v2", str(copied.lake.root))


def test_a_later_version_shares_the_shards_it_can(copied: Built) -> None:
    root = copied.lake.root
    manifest = publish("v2", str(root))
    assert manifest["parent"] == "v1"
    assert [shard["sha256"] for shard in manifest["shards"]] == shards_of(root, "v1")
    assert {row["version"] for row in ask(root, "SELECT version FROM versions")} == {"v1", "v2"}


def test_the_snapshot_is_made_of_the_ledger_alone(copied: Built) -> None:
    views = ("sources", "images", "pairs", "instructions", "edits", "quadruplets", "rejections", "shards", "versions",
             "version_members", "runs")  # fmt: skip
    before = {view: ask(copied.lake.root, f"SELECT * FROM {view} ORDER BY ALL") for view in views}
    copied.lake.snapshot.unlink()
    catalog.rebuild(copied.lake)
    assert {view: ask(copied.lake.root, f"SELECT * FROM {view} ORDER BY ALL") for view in views} == before
    assert all(before[view] for view in views if view != "rejections")


def three_photos(built: Built, tmp_path: Path, licence: str, product: str = "thing") -> Path:
    """Return a manifest of three photos of one product."""
    photos = sorted(built.photos.glob("*/*.jpg"))[:3]
    for photo in photos:
        if not (tmp_path / photo.name).exists():
            shutil.copy2(photo, tmp_path / photo.name)
    manifest = tmp_path / "manifest.csv"
    lines = [f"{photo.name},{product},{licence}" for photo in photos]
    manifest.write_text("\n".join(["path,product,licence", *lines]) + "\n")
    return manifest


def licences_in(root: Path, version: str) -> set[str]:
    """Return the licences that the samples of a version bear."""
    found = set()
    for digest in shards_of(root, version):
        with tarfile.open(root / "shards" / f"{digest}.tar") as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    found.add(json.loads(file.read())["target_licence"])
    return found


def test_a_version_says_what_is_true_now_and_a_manifest_may_go_back(built: Built, tmp_path: Path) -> None:
    root = tmp_path / "lake"
    manifest = three_photos(built, tmp_path, "CC0")
    build(str(manifest), str(root), assignments=SMALL, version="v1")
    three_photos(built, tmp_path, "proprietary")
    build(str(manifest), str(root), assignments=SMALL, version="v2")
    three_photos(built, tmp_path, "CC0")
    build(str(manifest), str(root), assignments=SMALL, version="v3")
    assert [licences_in(root, version) for version in ("v1", "v2", "v3")] == [{"CC0"}, {"proprietary"}, {"CC0"}]
    assert shards_of(root, "v1") == shards_of(root, "v3") != shards_of(root, "v2")
    assert verify(None, str(root))[1] == []


def test_a_photo_that_is_no_longer_there_leaves_what_is_published_next(copied: Built, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(copied.photos, photos)
    lake = tmp_path / "other"
    build(str(photos), str(lake), assignments=SMALL)
    gone = next(iter(sorted(photos.glob("*/00.jpg"))))
    kept = gone.read_bytes(), gone.stat()
    gone.unlink()
    fewer = build(str(photos), str(lake), assignments=SMALL)
    assert fewer.funnel.photos == 17
    assert fewer.funnel.pairs_compared == copied.summary.funnel.pairs_compared - 2
    gone.write_bytes(kept[0])
    os.utime(gone, ns=(kept[1].st_atime_ns, kept[1].st_mtime_ns))
    back = build(str(photos), str(lake), assignments=SMALL)
    assert sum(asked(back).values()) == 0
    assert back.funnel == copied.summary.funnel


def test_a_shard_holds_one_split_group(built: Built) -> None:
    sql = """SELECT shard_sha256, count(DISTINCT split_group) AS groups FROM version_members
             JOIN quadruplets USING (quadruplet_id) GROUP BY 1"""
    assert {row["groups"] for row in ask(built.lake.root, sql)} == {1}


def test_a_run_that_did_not_finish_is_not_published(copied: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    assignments = [*SMALL, "edit.strength=[0.7, 0.7]"]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(flows.build, "four_stages", interrupt)
        build(str(copied.photos), str(copied.lake.root), assignments=assignments)
    with pytest.raises(VersionError, match="did not finish"):
        publish("v2", str(copied.lake.root))


def test_published_quadruplets_stay_in_the_catalogue_whatever_the_settings(copied: Built) -> None:
    root = copied.lake.root
    build(str(copied.photos), str(root), assignments=[*SMALL, "intake.size=192"], limit=2)
    sql = "SELECT count(*) AS n FROM version_members ANTI JOIN all_quadruplets USING (quadruplet_id)"
    assert ask(root, sql) == [{"n": 0}]
    key = ask(root, "SELECT min(quadruplet_id) AS id FROM version_members")[0]["id"]
    with catalog.read(open_lake(root)) as connection:
        assert story(connection, key)[-1].outcome == "v1"


def test_a_lake_among_the_photos_is_not_taken_for_photos(built: Built, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(next(path for path in built.photos.iterdir() if path.is_dir()), photos / "thing")
    lake = photos / "lake"
    build(str(photos), str(lake), assignments=SMALL)
    assert build(str(photos), str(lake), assignments=SMALL).funnel.photos == 3


def test_compared_pairs_are_accepted_or_rejected_with_a_reason(built: Built) -> None:
    sql = """SELECT (SELECT count(*) FROM pairs) AS compared, (SELECT count(*) FROM pairs WHERE accepted) AS accepted,
                    (SELECT count(*) FROM rejections WHERE stage = 'pair') AS rejected"""
    (row,) = ask(built.lake.root, sql)
    assert row["compared"] == row["accepted"] + row["rejected"]


def test_real_photos_become_quadruplets(real_photos: Path, tmp_path: Path) -> None:
    summary = build(str(real_photos), str(tmp_path / "lake"), assignments=SMALL, limit=6, version="real")
    assert summary.funnel.photos == 6
    assert summary.funnel.quadruplets >= 10
    assert verify("real", str(tmp_path / "lake"))[1] == []
