"""A small benchmark: the rendered lake, all of its products in the reserve, and its samples frozen."""

import shutil
from pathlib import Path

import pytest

from benchmark.cases import Frozen, open_frozen
from flows.benchmark import build_benchmark
from flows.build import build
from tests.conftest import SMALL, Built, MadeOnce

RESERVED = [*SMALL, "splits.train=0", "splits.validation=0", "splits.benchmark=1"]
NAME = "bench"


@pytest.fixture(scope="session")
def reserve(built: Built, made_once: MadeOnce) -> Path:
    """The small lake, none of it published, all of it in the reserve: what was answered is not asked again."""

    def fill(folder: Path) -> None:
        root = shutil.copytree(built.lake.root, folder / "lake")
        for gone in ("versions", "shards", "ledger/ingest"):  # the last: split groups are set at intake, for good
            shutil.rmtree(root / gone)
        build(str(built.photos), str(root), assignments=RESERVED)

    return made_once("reserve", fill) / "lake"


@pytest.fixture(scope="session")
def bench(reserve: Path, made_once: MadeOnce) -> Frozen:
    """A benchmark of all that the reserve has. Not to be changed."""

    def fill(folder: Path) -> None:
        shutil.copytree(reserve, folder / "lake")
        build_benchmark(NAME, 200, str(folder / "lake"), partial=True)

    return open_frozen(made_once("bench", fill) / "lake", NAME)
