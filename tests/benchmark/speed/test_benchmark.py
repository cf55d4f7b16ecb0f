import pytest
from typer.testing import CliRunner

from benchmark.speed import benchmark


def test_the_script_runs_and_prints_the_ratio(capfd: pytest.CaptureFixture[str]) -> None:
    ended = CliRunner().invoke(benchmark.app, ["--products", "2", "--size", "128", "--engines", "stand-in"])
    assert ended.exit_code == 0, ended.output
    assert "of the bare loop" in ended.output
    assert "2 products, 4 photos of 128 px" in ended.output
    assert "6 triplets, 6 in the benchmark" in ended.output
