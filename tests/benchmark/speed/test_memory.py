from typer.testing import CliRunner

from benchmark.speed import memory


def test_it_tells_what_a_step_takes() -> None:
    found = memory.measure(64, 1, 1, 1, 4, 8, checkpointing=False)
    assert found["tokens"] == 8 + 3 * 16
    assert all(found[name] > 0 for name in ("weights", "seconds", "rate", "ceiling"))


def test_the_script_prints_a_row_for_each_size_and_either_way() -> None:
    shape = ["--blocks", "1", "--single", "1", "--heads", "1", "--rank", "4", "--words", "8"]
    ended = CliRunner().invoke(memory.app, ["--sizes", "64", *shape])
    assert ended.exit_code == 0, ended.output
    rows = [line.split("│") for line in ended.output.splitlines() if "│" in line]
    assert [row[3].strip() for row in rows] == ["yes", "no"]
    assert all(int(row[2]) == 8 + 3 * 16 and float(row[4]) > 0 and float(row[5]) > 0 for row in rows)
