"""A lake with made-up samples of both splits, and the readers' environment."""

import json
import os
import subprocess
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from tasks import catalog
from tasks.deletions import write_deletions
from tasks.lake import Lake, create_lake
from tasks.ledger import Row
from tasks.manifests import Manifest
from tasks.pack import Shard, pack_shard
from tasks.versions import write_manifest
from tests.tasks.test_pack import quadruplet

ROOT = Path(__file__).parents[3]
DEFAULTS = Settings()
READERS = ROOT / ".venv-readers" / "bin"


@dataclass(frozen=True)
class Made:
    """A lake, its shards (six samples and six for training, three for validation) and the rows in them, in order."""

    lake: Lake
    shards: Sequence[Shard]
    rows: Sequence[Row]

    def publish(self, name: str, gone: Set[int] = frozenset(), settings: Settings = DEFAULTS) -> Manifest:
        """Publish all samples but those `gone`, which go into deletion vectors."""
        start, shards = 0, []
        for shard in self.shards:
            keys = [self.rows[n]["quadruplet_id"] for n in sorted(gone) if start <= n < start + shard.samples]
            live = shard.samples - len(keys)
            if live:
                shards.append(replace(shard, live=live, deleted_sha256=write_deletions(self.lake, keys)))
            start += shard.samples
        rows = [row for n, row in enumerate(self.rows) if n not in gone]
        run = {"run_id": "000001", "fingerprints": json.dumps({"pair": "p", "restore": "r"})}
        manifest = write_manifest(self.lake, name, shards, rows, None, run, settings)
        catalog.rebuild(self.lake)
        return manifest


def made_in(root: Path) -> Made:
    lake = create_lake(root)
    rows = [quadruplet(lake, number) for number in range(15)]
    for number, row in enumerate(rows):
        row["split_group"] = "train" if number < 12 else "validation"
        row["target_licence"] = "CC BY 4.0" if 7 < number < 12 else None  # where a loader would look, there is none
        row["task"] = ("ref-fix", "ref-replace")[number % 2]
    shards = [pack_shard(lake, rows[start:stop], 95) for start, stop in ((0, 6), (6, 12), (12, 15))]
    return Made(lake, shards, rows)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return made_in(tmp_path / "lake")


@dataclass(frozen=True)
class Readers:
    """Other people's readers, in an environment of their own."""

    cache: Path

    def run(self, *command: str) -> str:
        """Run one of its commands, offline; return what it prints."""
        environment = os.environ | {
            "HF_HOME": str(self.cache / "hf"),
            "HF_HUB_OFFLINE": "1",
            "CROISSANT_CACHE": str(self.cache / "croissant"),
        }
        ended = subprocess.run(
            [str(READERS / command[0]), *command[1:]], env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def read(self, script: str, *arguments: str) -> Any:
        """Run one of tests/readers; return what it found."""
        return json.loads(self.run("python", str(ROOT / "tests" / "readers" / script), *arguments).splitlines()[-1])


@pytest.fixture
def readers(tmp_path: Path) -> Readers:
    """The readers' environment; skips, loudly, where there is none."""
    if not (READERS / "python").exists():
        missing = f"no readers at {READERS}: `make readers` installs them"
        if os.environ.get("OMNIREFINER_NEEDS_READERS"):
            pytest.fail(missing)
        pytest.skip(f"SKIPPED: {missing}")
    return Readers(tmp_path / "cache")
