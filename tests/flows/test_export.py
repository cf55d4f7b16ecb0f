"""The command `export`, on a lake that was really built."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.manifests import read_manifest
from tests.conftest import Built
from tests.flows.test_cli import printed, run


def test_a_version_is_exported(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, root = tmp_path / "out", str(built.lake.root)
    assert run(monkeypatch, "export", "v1", str(folder), "--lake", root, "--json") == 0
    told = printed(capsys)
    assert told == json.loads((folder / "manifest.json").read_text())
    manifest = read_manifest(built.lake, "v1")
    assert told["samples"] == manifest["samples"]
    assert told["counts"]["category"] == manifest["counts"]["category"]
    assert {shard["sha256"] for shard in told["shards"]} == {shard["sha256"] for shard in manifest["shards"]}
    for row in pq.read_table(folder / "samples.parquet").to_pylist():
        assert 0 < row["mask_area"] < 1
        assert row["same_product"] >= 0.75
        assert row["product"]
        assert row["operation"]
        assert row["judged"] is None

    assert run(monkeypatch, "export", "v1", str(folder), "--lake", root) == 2
    assert "there is something already" in capsys.readouterr().err
    assert run(monkeypatch, "export", "v9", str(tmp_path / "other"), "--lake", root) == 2
    assert "version 'v9': not in the lake (there are: v1)" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [folder]
