"""Commands that tests start, and photos that cost them nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.ids import stream
from tasks.codecs import encode_jpeg
from tests.conftest import MadeOnce
from tests.flows.commands import Runner


@pytest.fixture(scope="session")
def noise(made_once: MadeOnce) -> Path:
    """Two products of three photos: noise, which is as good as any to stand-in engines."""

    def fill(folder: Path) -> None:
        for product in ("cup", "mug"):
            (folder / product).mkdir()
            for number in range(3):
                pixels = stream(0, product, number).integers(0, 256, (96, 96, 3)).astype("uint8")
                (folder / product / f"{number}.jpg").write_bytes(encode_jpeg(pixels, 95))

    return made_once("noise", fill)


@pytest.fixture(scope="session")
def runner(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("runner"))
    yield runner
    runner.end()


@pytest.fixture(scope="session")
def uninterrupted(noise: Path, runner: Runner, made_once: MadeOnce) -> Path:
    def fill(folder: Path) -> None:
        assert runner.build_and_publish(noise, folder / "lake") == 0

    return made_once("uninterrupted", fill) / "lake"
