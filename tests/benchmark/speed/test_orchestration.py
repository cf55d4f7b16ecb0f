import pytest
from typer.testing import CliRunner

from benchmark.speed import orchestration


def test_the_script_runs_and_prints_the_ratio(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quadruplets", "84", "--size", "128", "--repetitions", "1"]
    ended = CliRunner().invoke(orchestration.app, arguments)
    assert ended.exit_code == 0, ended.output
    assert "of the bare loop" in ended.output
    assert "84 quadruplets, 284 items" in ended.output
