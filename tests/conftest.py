"""One small lake, built once by the real flow on rendered photos; tests that change it take a copy.

What takes long to make is made once for all processes that tests run in.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

# Prefect reads its home when it is imported: the tests have one of their own, and leave the user's alone
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="omnirefiner-prefect-")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")

from flows.build import build
from flows.curate import curate
from flows.server import start, talking_to
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


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Return a function of a name and of what fills a folder: the folder of that name, filled once for all processes.

    What is made so is not to be changed.
    """
    own = tmp_path_factory.getbasetemp()
    common = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "common"
    common.mkdir(exist_ok=True)

    def made(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = common / name, common / f"{name}.done"
        with FileLock(common / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # another process failed to fill it
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def rendered(made_once: MadeOnce) -> Path:
    """Rendered photos: six products, one of each type, three views."""

    def fill(folder: Path) -> None:
        render_set(folder / "photos", products=6, views=3, seed=0, size=320)

    return made_once("rendered", fill) / "photos"


@pytest.fixture(scope="session")
def prefect() -> Iterator[str]:
    """One Prefect server for all tests and for the commands that they start: its API's URL."""
    url = start()
    os.environ["PREFECT_API_URL"] = url
    with talking_to(url):
        yield url


@pytest.fixture(scope="session")
def built(rendered: Path, prefect: str, made_once: MadeOnce) -> Built:
    """A lake built from the rendered photos and published as v1. Not to be changed: see `copied`."""

    def fill(folder: Path) -> None:
        summary = build(str(rendered), str(folder / "lake"), assignments=SMALL, version="v1")
        (folder / "summary.json").write_text(summary.model_dump_json())

    folder = made_once("built", fill)
    summary = Summary.model_validate_json((folder / "summary.json").read_text())
    return Built(rendered, open_lake(folder / "lake"), summary)


@pytest.fixture(scope="session")
def scored(built: Built, made_once: MadeOnce) -> Built:
    """The same, copied and scored, with no filter set in force. Not to be changed."""

    def fill(folder: Path) -> None:
        shutil.copytree(built.lake.root, folder / "lake")
        curate(str(folder / "lake"))

    return Built(built.photos, open_lake(made_once("scored", fill) / "lake"), built.summary)


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
