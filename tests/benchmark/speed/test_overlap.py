import pytest
from typer.testing import CliRunner

from benchmark.speed import overlap


def test_the_script_builds_and_prints_the_ratio(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quadruplets", "84", "--size", "128", "--chat", "0.01", "--edit", "0.01"]
    ended = CliRunner().invoke(overlap.app, arguments)
    assert ended.exit_code == 0, ended.output
    assert [line.split("│")[1].strip() for line in ended.output.splitlines() if "│" in line] == [
        "side by side", "edits alone"
    ]  # fmt: skip
