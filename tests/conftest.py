"""One small lake, built once by the real flow on rendered photos; tests that change it take a copy."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

# Prefect reads its home when it is imported: the tests have one of their own, and leave the user's alone
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="omnirefiner-prefect-")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")

from flows.build import build
from flows.curate import curate
from flows.server import start
from tasks.engines.load import one_thread_each
from tasks.lake import Lake, open_lake
from tasks.render.photos import render_set
from tasks.summary import Summary

one_thread_each()
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine breaks no law
hypothesis.settings.load_profile("untimed")

SMALL = ["intake.size=256", "intake.min_side=128", "shards.samples=8"]


@dataclass(frozen=True)
class Built:
    """Photos, the lake made from them, and what the build said."""

    photos: Path
    lake: Lake
    summary: Summary


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered photos: six products, one of each type, three views."""
    photos = tmp_path_factory.mktemp("rendered") / "photos"
    render_set(photos, products=6, views=3, seed=0, size=320)
    return photos


@pytest.fixture(scope="session")
def prefect() -> Iterator[str]:
    """One Prefect server for all tests and for the commands that they start: its API's URL."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = start()
    os.environ["PREFECT_API_URL"] = url
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


@pytest.fixture(scope="session")
def built(rendered: Path, prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A lake built from the rendered photos and published as v1. Not to be changed: see `copied`."""
    root = tmp_path_factory.mktemp("built") / "lake"
    summary = build(str(rendered), str(root), assignments=SMALL, version="v1")
    return Built(rendered, open_lake(root), summary)


@pytest.fixture(scope="session")
def scored(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The same, copied and scored, with no filter set in force. Not to be changed."""
    root = tmp_path_factory.mktemp("scored") / "lake"
    shutil.copytree(built.lake.root, root)
    curate(str(root))
    return Built(built.photos, open_lake(root), built.summary)


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> Built:
    """The same, the lake copied to another path, to be changed at will."""
    shutil.copytree(built.lake.root, tmp_path / "lake")
    return Built(built.photos, open_lake(tmp_path / "lake"), built.summary)


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """Return the real photos beside the project, or skip, loudly."""
    photos = Path(__file__).parents[2] / "shared" / "data" / "products"
    if not photos.is_dir():
        pytest.skip(f"SKIPPED: no real photos at {photos}; the rendered ones stand in for them elsewhere")
    return photos
