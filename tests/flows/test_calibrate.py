"""Calibration from the command line: a blind build of product folders, and what it says."""

from pathlib import Path

import pytest

from flows.build import build
from tests.conftest import SMALL, Built
from tests.flows.test_cli import printed, run


@pytest.fixture(scope="module")
def blind(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blind") / "lake"
    build(str(built.photos), str(root), assignments=SMALL, blind=True)
    return root


def test_a_blind_lake_is_measured_against_its_folders(
    blind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kinds.csv").write_text("product,kind\nbox-set0-00000,flat\ncan-set0-00001,round\n")
    picture = tmp_path / "curve.png"
    labels = ("--labels", str(tmp_path / "kinds.csv"))
    assert run(monkeypatch, "calibrate", "--json", "--lake", str(blind), "--out", str(picture), *labels) == 0
    tables = printed(capsys)
    in_force = next(row for row in tables["Pairs by cut"] if row[""] == "in force")
    assert in_force["true pairs"] == 6 * 3
    assert in_force["cut"] == 0.75
    assert 0 < in_force["right"] <= in_force["accepted"]
    assert tables["Cut proposed on one half of the products, and what it gives"]
    assert [row[""] for row in tables["By kind of the target, at the cut in force"]] == ["flat", "round"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_lake_of_known_products_is_measured_by_the_renderers_truth_alone(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = ("--out", str(tmp_path / "curve.png"))
    assert run(monkeypatch, "calibrate", "--json", "--lake", str(built.lake.root), *picture) == 0
    tables = printed(capsys)
    assert "Pairs by cut" not in tables
    everything = tables["Instructions by category, by the renderer's truth"][-1]
    assert (everything["category"], everything["instructions"]) == ("all", built.summary.funnel.quadruplets)
    assert not (tmp_path / "curve.png").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,product\nnowhere.jpg,cup\n", "line 2: no photo 'nowhere.jpg' in the lake"),
        ("path,name\na.jpg,cup\n", "it needs a column product"),
        ("product\ncup\n", "it needs a column product, and path or kind"),
        ('product,kind\n"cup', "cannot be read"),
    ],
)
def test_labels_that_cannot_be_used_are_told_in_one_line(
    blind: Path,
    tmp_path: Path,
    text: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    assert run(monkeypatch, "calibrate", "--lake", str(blind), "--labels", str(tmp_path / "labels.csv")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("omnirefiner: labels ")
    assert says in last
