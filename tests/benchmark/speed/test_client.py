from typer.testing import CliRunner

from benchmark.speed import client


def test_the_script_runs_and_prints_both_clients() -> None:
    ended = CliRunner().invoke(client.app, ["--in-flight", "4", "--rounds", "2", "--delay", "0.01"])
    assert ended.exit_code == 0, ended.output
    assert [line.split("│")[2].strip() for line in ended.output.splitlines() if "│" in line] == ["bare", "ours"]
    assert "of the ideal" in ended.output
