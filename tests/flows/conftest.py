"""Commands that tests start, and photos that cost them nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.ids import stream
from tasks.codecs import encode_jpeg
from tests.flows.commands import Runner


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products of three photos: noise, which is as good as any to stand-in engines."""
    folder = tmp_path_factory.mktemp("noise")
    for product in ("cup", "mug"):
        (folder / product).mkdir()
        for number in range(3):
            pixels = stream(0, product, number).integers(0, 256, (96, 96, 3)).astype("uint8")
            (folder / product / f"{number}.jpg").write_bytes(encode_jpeg(pixels, 95))
    return folder


@pytest.fixture(scope="session")
def runner(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("runner"))
    yield runner
    runner.end()


@pytest.fixture(scope="session")
def uninterrupted(noise: Path, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("uninterrupted") / "lake"
    assert runner.build_and_publish(noise, lake) == 0
    return lake
