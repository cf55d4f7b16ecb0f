"""A small benchmark: the rendered lake, all of its products in the reserve, and its samples frozen."""

import shutil
from pathlib import Path

import pytest

from benchmark.cases import Frozen, open_frozen
from flows.benchmark import build_benchmark
from flows.build import build
from tests.conftest import SMALL, Built

RESERVED = [*SMALL, "splits.train=0", "splits.validation=0", "splits.benchmark=1"]
NAME = "bench"


@pytest.fixture(scope="session")
def reserve(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small lake, none of it published, all of it in the reserve: what was answered is not asked again."""
    root = tmp_path_factory.mktemp("reserve") / "lake"
    shutil.copytree(built.lake.root, root)
    for folder in ("versions", "shards", "ledger/ingest"):  # the last: split groups are set at intake, for good
        shutil.rmtree(root / folder)
    build(str(built.photos), str(root), assignments=RESERVED)
    return root


@pytest.fixture(scope="session")
def bench(reserve: Path, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """A benchmark of all that the reserve has. Not to be changed."""
    root = tmp_path_factory.mktemp("bench") / "lake"
    shutil.copytree(reserve, root)
    build_benchmark(NAME, 200, str(root), partial=True)
    return open_frozen(root, NAME)
