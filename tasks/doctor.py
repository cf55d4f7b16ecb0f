"""Doctor: is this machine, this profile and this lake fit for a run?"""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx

from schemas.errors import LakeError
from schemas.settings import Settings
from tasks import catalog
from tasks.check import Check, Verdict
from tasks.lake import Lake, open_lake
from tasks.requests import Requests
from tasks.servers import examine_servers

ROOT = Path(__file__).parents[1]
ENOUGH_FREE = 2e9  # bytes on the lake's disk


def examine(settings: Settings, lake: Path) -> Iterator[Check]:
    """Look at Python, packages, machine, engines, their servers, Prefect and the lake, one after another."""
    yield _python()
    yield _packages()
    yield _machine(settings, lake)
    yield _engine("writer", settings.writer.engine, lambda: _load_writer(settings, lake))
    yield _engine("editor", settings.edit.engine, lambda: _load_editor(settings, lake))
    yield _autoencoder(settings)
    yield from _scores(settings)
    yield from examine_servers(settings)
    yield _prefect()
    yield _lake(lake)


def _python() -> Check:
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check(
        name="python", verdict="ok" if fits else "bad", detail=f"{platform.python_version()}; 3.11 or 3.12 is needed"
    )


def _packages() -> Check:
    """Compare what is installed with constraints.txt, the versions that were tested together."""
    others = []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, wanted = line.partition("==")
        if wanted:
            try:
                found = importlib.metadata.version(name).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                found = "missing"
            if found != wanted:
                others.append(f"{name} {found} (tested: {wanted})")
    return Check(
        name="packages", verdict="note" if others else "ok", detail=", ".join(others) or "as in constraints.txt"
    )


def _machine(settings: Settings, lake: Path) -> Check:
    there = next(folder for folder in (lake.absolute(), *lake.absolute().parents) if folder.exists())
    free, cores = shutil.disk_usage(there).free, os.cpu_count() or 1
    verdict: Verdict = "bad" if free < ENOUGH_FREE else "note" if settings.run.workers > cores else "ok"
    detail = f"{cores} cores for {settings.run.workers} workers, {free / 1e9:.0f} GB free at {there}"
    return Check(name="machine", verdict=verdict, detail=detail)


def _engine(kind: str, name: str, load: Callable[[], object]) -> Check:
    try:
        load()
    except Exception as error:  # whatever an engine raises while it loads is what the user must hear
        return Check(name=kind, verdict="bad", detail=f"{name} does not load: {type(error).__name__}: {error}")
    return Check(name=kind, verdict="ok", detail=f"{name} loads")


def _load_writer(settings: Settings, lake: Path) -> object:
    from tasks.engines.load import load_writer

    return load_writer(settings, Requests(Lake(lake)))


def _load_editor(settings: Settings, lake: Path) -> object:
    from tasks.engines.load import load_editor

    return load_editor(settings, Requests(Lake(lake)))


def _autoencoder(settings: Settings) -> Check:
    weights = settings.edit.autoencoder
    if weights is None:
        return Check(name="autoencoder", verdict="note",
                     detail="no weights set: the edit 'autoencode' is left out; see edit.autoencoder")  # fmt: skip
    there = weights.is_file()
    return Check(
        name="autoencoder", verdict="ok" if there else "bad", detail=f"{weights}{'' if there else ': not found'}"
    )


def _scores(settings: Settings) -> Iterator[Check]:
    """Say of each score that needs weights whether it will be null."""
    from tasks.engines.load import load_classifier, load_embedder, load_lpips

    scoring = settings.score
    loaders: dict[str, tuple[Path | None, Callable[[Path], object]]] = {
        "lpips": (scoring.lpips, load_lpips),
        "clip": (scoring.clip, load_embedder),
        "dino": (scoring.dino, load_embedder),
        "safety": (scoring.safety, load_classifier),
    }
    for name, (path, load) in loaders.items():
        if path is not None:
            yield _engine(f"score.{name}", str(path), partial(load, path))
    missing = ", ".join(name for name, (path, _) in loaders.items() if path is None)
    if missing:
        detail = f"no weights set, so these scores are null: {missing}; see docs/curation.md"
        yield Check(name="scores", verdict="note", detail=detail)


def _prefect() -> Check:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Check(name="prefect", verdict="ok", detail="embedded server, started by each run")
    try:
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        return Check(name="prefect", verdict="bad", detail=f"no server answers at {url}: {error}")
    return Check(name="prefect", verdict="ok", detail=f"server at {url}")


def _lake(root: Path) -> Check:
    if not root.exists():
        return Check(name="lake", verdict="note", detail=f"{root}: none yet; `omnirefiner build` makes it")
    try:
        lake = open_lake(root)
    except LakeError as error:
        return Check(name="lake", verdict="bad", detail=str(error))
    if not os.access(lake.root, os.W_OK):
        return Check(name="lake", verdict="bad", detail=f"{lake.root}: cannot be written; check its rights")
    if not catalog.is_readable(lake):
        detail = f"{lake.root}: it has no catalogue that can be read; `omnirefiner rebuild` makes one"
        return Check(name="lake", verdict="bad" if lake.snapshot.exists() else "note", detail=detail)
    return Check(name="lake", verdict="ok", detail=f"{lake.root}: can be written, with a catalogue")
