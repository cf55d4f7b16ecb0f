from pathlib import Path

from typer.testing import CliRunner

from benchmark.speed import benchmark


def test_the_script_goes_the_whole_way_and_the_bare_one(tmp_path: Path) -> None:
    small = ["--products", "2", "--size", "128", "--engines", "stand-in", "--edits", "2", "--folder", str(tmp_path)]
    ended = CliRunner().invoke(benchmark.app, small)
    assert ended.exit_code == 0, ended.output
    rows = [line.split("│")[1].strip() for line in ended.output.splitlines() if "│" in line]
    assert rows == ["whole way", "bare loop"]
    assert "2 products, 4 photos of 128 px, 4 triplets, 4 in the benchmark" in ended.output
    alike = [{path.name for path in (tmp_path / lake / "shards").rglob("*.tar")} for lake in ("lake", "bare")]
    assert alike[0] == alike[1]  # named by their digests: both ways come to the same bytes
    assert alike[0]
