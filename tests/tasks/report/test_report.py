"""The report, looked at as people do: opened offline in a real browser, with a mouse, a finger and a keyboard."""

import dataclasses
import json
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, expect

from flows import cli
from flows.build import build
from schemas.errors import ArtifactError, LakeError
from tasks.catalog import read, rebuild, rows
from tasks.lake import Lake, create_lake, open_lake
from tasks.manifests import read_manifest
from tasks.report import inert_json, write_report
from tasks.report.figures import Figures, collect
from tasks.report.pictures import outline
from tests.browser import chromium
from tests.conftest import SMALL, Built

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>'\"&amp;\u2028{{7*7}}${alert(2)}"
DESKTOP, PHONE = (1280, 900), (360, 740)


@pytest.fixture(scope="module")
def two_versions(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with v1, and v2 of a stricter cut."""
    root = tmp_path_factory.mktemp("versions") / "lake"
    shutil.copytree(built.lake.root, root)
    build(str(built.photos), str(root), assignments=[*SMALL, "pair.min_viewpoint=0.9"], version="v2")
    return open_lake(root)


@pytest.fixture(scope="module")
def report(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(built.lake, collect(built.lake), out)
    return out


@pytest.fixture(scope="module")
def browser(two_versions: Lake) -> Iterator[Browser]:
    """A headless Chromium, started after the build: both want this thread's event loop."""
    with chromium() as browser:
        yield browser


def look(browser: Browser, report: Path, size: tuple[int, int] = DESKTOP) -> tuple[Page, list[str]]:
    """Open a report offline; the list fills with whatever is not as it should be."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True, has_touch=size == PHONE)
    context.set_default_timeout(5000)
    page, trouble = context.new_page(), list[str]()

    def dismiss(dialog: Dialog) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def note(asked: Request) -> None:
        if not asked.url.startswith(("file:", "data:")):
            trouble.append(f"asked for {asked.url}")

    page.on("console", lambda said: trouble.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("dialog", dismiss)
    page.on("request", note)
    page.goto(report.as_uri())
    return page, trouble


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[tuple[Page, list[str]]]:
    page, trouble = look(browser, report)
    yield page, trouble
    page.context.close()


def shown(page: Page) -> int:
    match = re.match(r"([\d,]+) of ", page.inner_text("#count"))
    assert match
    return int(match[1].replace(",", ""))


def facts_in(report: Path) -> Any:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', report.read_text())
    assert found
    return json.loads(found[1])


def test_it_opens_offline_without_a_word_of_complaint(opened: tuple[Page, list[str]], built: Built) -> None:
    page, trouble = opened
    funnel = built.summary.funnel
    assert page.inner_text("h1") == f"{funnel.quadruplets} quadruplets of 6 products"
    steps = page.locator("#funnel li b").all_inner_texts()
    assert steps[1:] == [str(n) for n in (funnel.images, funnel.pairs_compared, funnel.pairs, funnel.instructions,
                                          funnel.edits, funnel.quadruplets)]  # fmt: skip
    lost = " ".join(page.locator(".funnel .lost").all_inner_texts())
    for reasons in funnel.refused.values():
        for reason, items in reasons.items():
            assert f"{items} {reason}" in lost
    assert shown(page) == funnel.quadruplets
    assert page.locator("#plots svg").count() == 13
    assert page.locator("#runs tbody tr").count() == 9
    page.locator("#samples").scroll_into_view_if_needed()
    page.wait_for_selector(".card img")
    for image in page.locator("img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert trouble == []


def test_filters_sorting_and_words_choose_what_is_shown(opened: tuple[Page, list[str]], report: Path) -> None:
    page, trouble = opened
    samples = facts_in(report)["samples"]
    category = samples[0]["category"]
    box = page.locator(f"input[name=category][value='{category}']")
    box.check(force=True)
    assert shown(page) == sum(sample["category"] == category for sample in samples) < len(samples)
    assert set(page.locator(".card .tag:nth-of-type(2)").all_inner_texts()) <= {category}
    page.locator("input[name=task][value=ref-fix]").check(force=True)
    assert shown(page) == sum(s["category"] == category and s["task"] == "ref-fix" for s in samples)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#count")).to_have_text(f"{len(samples)} of {len(samples)} samples")

    page.get_by_label("Score").select_option("mask_area")
    middle = sorted(sample["mask_area"] for sample in samples)[len(samples) // 2]
    page.get_by_label("from", exact=True).fill(str(middle))
    assert shown(page) == sum(sample["mask_area"] >= middle for sample in samples)
    page.get_by_label("to", exact=True).fill(str(middle))
    assert shown(page) == sum(sample["mask_area"] == middle for sample in samples)
    page.get_by_role("button", name="Clear").click()

    page.get_by_label("Sort by").select_option("psnr")
    page.get_by_label("Order").select_option("-1")
    best = max(samples, key=lambda sample: sample["psnr"])
    assert page.locator(".card code").first.inner_text() == best["id"][:12]

    page.get_by_label("Search").fill(f"{samples[3]['id']} {samples[3]['operation'].upper()}")
    assert shown(page) == 1
    page.get_by_label("Search").fill("nothing says this")
    assert shown(page) == 0
    assert "No sample fits" in page.inner_text("#cards")
    assert trouble == []


def test_only_a_page_of_cards_is_there_and_only_near_pictures(opened: tuple[Page, list[str]], built: Built) -> None:
    page, _ = opened
    assert page.locator(".card").count() == min(24, built.summary.funnel.quadruplets)
    assert page.locator(".card").last.locator("img").count() == 0
    page.locator(".card").last.scroll_into_view_if_needed()
    page.locator(".card").last.locator("img").first.wait_for()
    before = page.locator(".card code").all_inner_texts()
    page.locator("button.next").first.click()
    after = page.locator(".card code").all_inner_texts()
    assert not set(before) & set(after)
    assert page.locator("button.previous").first.is_enabled()


def test_the_slider_moves_by_keyboard_and_pointer_and_shows_the_edit(opened: tuple[Page, list[str]]) -> None:
    page, trouble = opened
    page.locator(".card").first.scroll_into_view_if_needed()
    slider = page.get_by_role("slider").first
    slider.scroll_into_view_if_needed()
    stage = page.locator(".compare").first
    box = stage.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 60, steps=4)
    page.mouse.up()
    assert abs(int(slider.input_value()) - 25) <= 1
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert abs(int(slider.input_value()) - 27) <= 1
    page.keyboard.press("End")
    assert stage.evaluate("stage => stage.style.getPropertyValue('--at')") == "100%"
    input = stage.screenshot()
    page.keyboard.press("Home")
    assert stage.evaluate("stage => stage.style.getPropertyValue('--at')") == "0%"
    assert stage.screenshot() != input
    near = stage.locator("img").first.bounding_box()
    page.get_by_role("button", name="whole picture").first.click()
    far = stage.locator("img").first.bounding_box()
    assert near and far and near["width"] > far["width"]
    assert trouble == []


def test_a_phone_has_no_sideways_scrolling_and_takes_a_finger(browser: Browser, report: Path) -> None:
    page, trouble = look(browser, report, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    page.get_by_text("Search, filter, sort").tap()
    page.get_by_label("Sort by").select_option("psnr")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    stage = page.locator(".compare").first
    page.locator(".card").first.scroll_into_view_if_needed()
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    assert abs(int(stage.locator("input").input_value()) - 80) <= 1
    assert trouble == []
    page.context.close()


def hostile(figures: Figures) -> Figures:
    """Put markup wherever a product, a path, an instruction, a setting or a refusal could bring it in."""
    told = ("product", "target_path", "reference_path", "edit_instruction", "restore_instruction", "operation")
    samples = [row | {name: f"{name} {HOSTILE}" for name in told} for row in figures.samples]
    examples = [row | {"detail": HOSTILE, "path": HOSTILE, "reason": HOSTILE} for row in figures.examples]
    run = {**figures.facts["run"], "photos": HOSTILE, "profile": HOSTILE, "settings": {HOSTILE: HOSTILE}}
    bars = [
        bar | {"rows": [[f"{HOSTILE} {value}", a, b] for value, a, b in bar["rows"]]} for bar in figures.facts["bars"]
    ]
    failures = [{"stage": HOSTILE, "items": 1, "detail": HOSTILE}]
    changed = {"lake": HOSTILE, "run": run, "bars": bars, "failures": failures}
    return dataclasses.replace(figures, facts=figures.facts | changed, samples=samples, examples=examples)


def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, built: Built, tmp_path: Path) -> None:
    out = tmp_path / "hostile.html"
    write_report(built.lake, hostile(collect(built.lake)), out)
    page, trouble = look(browser, out)
    page.locator(".card").first.scroll_into_view_if_needed()
    page.locator(".card img").first.wait_for()
    card = page.locator(".card").first
    assert card.locator("h3").text_content() == f"product {HOSTILE}"
    for name in ("target_path", "edit_instruction", "restore_instruction"):
        assert f"{name} {HOSTILE}" in (card.text_content() or "")
    assert HOSTILE in (page.locator("#examples").text_content() or "")
    assert HOSTILE in page.title()
    assert page.locator("script").count() == 3
    assert page.locator("img:not([src^='data:image/webp;base64,'])").count() == 0
    assert trouble == []
    page.context.close()


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        ("document.body.innerHTML = '<b>markup</b>'", "TrustedHTML"),
        ("fetch('https://example.org')", "Failed to fetch"),
        ("fetch('file:///etc/hostname')", "Failed to fetch"),
        ("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))", "TrustedScript"),
    ],
)
def test_the_policy_lets_nothing_in(browser: Browser, report: Path, attempt: str, outcome: str) -> None:
    """Should a text ever become markup, it could still run and load nothing."""
    page, _ = look(browser, report)
    with pytest.raises(Exception, match=outcome):
        page.evaluate(f"(async () => {{ await ({attempt}) }})()")
    page.context.close()


def test_two_versions_are_held_against_each_other(
    browser: Browser, two_versions: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {}
    with read(two_versions) as connection:
        for name in ("v1", "v2"):
            found = rows(connection, "SELECT quadruplet_id AS id FROM version_members WHERE version = ?", [name])
            members[name] = {row["id"] for row in found}
    assert members["v2"] < members["v1"]
    for name, against, kind in (("v2", "v1", "dropped"), ("v1", "v2", "added")):
        out = tmp_path / f"{name}.html"
        arguments = ["report", str(out), "--lake", str(two_versions.root), "--version", name, "--against", against]
        assert command(monkeypatch, *arguments) == 0
        changed = members["v1"] - members["v2"]
        first = collect(two_versions, name, against, limit=len(changed))
        assert {row["quadruplet_id"] for row in first.samples} == changed
        for bar in facts_in(out)["bars"]:
            assert sum(a for _, a, _ in bar["rows"]) == len(members[name])
            assert sum(b for _, _, b in bar["rows"]) == len(members[against])
        page, trouble = look(browser, out)
        assert f"{len(changed)} {kind}" in page.inner_text("h1")
        assert page.inner_text(f".tiles .{kind} b") == str(len(changed))
        page.locator(f"input[name=change][value={kind}]").check(force=True)
        assert shown(page) == len(changed)
        assert set(page.locator(".card code").all_inner_texts()) <= {id[:12] for id in changed}
        assert set(page.locator(".card .change").all_inner_texts()) == {kind}
        assert page.locator("#plots .edge-a").count() == page.locator("#plots .edge-b").count() == 8
        assert trouble == []
        page.context.close()


def test_a_version_is_told_by_itself(built: Built, tmp_path: Path) -> None:
    out = tmp_path / "v1.html"
    figures = collect(built.lake, "v1", limit=5)
    write_report(built.lake, figures, out)
    manifest, facts = read_manifest(built.lake, "v1"), facts_in(out)
    assert facts["total"] == manifest["samples"]
    assert len(facts["samples"]) == 5
    assert [sample["id"] for sample in facts["samples"]] == sorted(sample["id"] for sample in facts["samples"])
    assert facts["funnel"][-1]["count"] == manifest["samples"]
    counted = {bar["column"]: {value: n for value, n, _ in bar["rows"]} for bar in facts["bars"]}
    assert {name: counted[name] for name in manifest["counts"]} == manifest["counts"]
    for histogram in facts["histograms"]:
        assert sum(histogram["a"]) == manifest["samples"]


def test_a_catalogue_older_than_a_version_is_named(two_versions: Lake, copied: Built) -> None:
    shutil.copy(two_versions.manifest("v2"), copied.lake.manifest("v2"))
    with pytest.raises(LakeError, match=r"does not hold all of version 'v2'.*omnirefiner rebuild"):
        collect(copied.lake, "v2")


@pytest.mark.parametrize(
    ("damage", "what"), [(Path.unlink, "missing"), (lambda path: path.write_bytes(b"RIFF"), "damaged")]
)
def test_a_lost_or_damaged_picture_is_named_and_an_old_report_stays_whole(
    damage: Callable[[Path], Any], what: str, copied: Built, tmp_path: Path
) -> None:
    figures = collect(copied.lake)
    digest = figures.samples[3]["input_sha256"]
    damage(copied.lake.artifact(digest, "webp"))
    (tmp_path / "report.html").write_text("an old one")
    with pytest.raises(ArtifactError, match=rf": artifacts/{digest[:2]}/{digest}\.webp: it is {what}"):
        write_report(copied.lake, figures, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "an old one"


def test_a_full_disk_leaves_an_old_report_whole_and_nothing_beside_it(built: Built, tmp_path: Path) -> None:
    """As a limit on the size of files; past the page's head, so that there is half a page to be left."""
    out = tmp_path / "report.html"
    out.write_text("an old one")
    figures = collect(built.lake)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_report(built.lake, figures, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert out.read_text() == "an old one"


def test_a_report_of_five_thousand_samples_has_one_page_of_cards(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    facts, many = facts_in(report), 5000
    few = facts["samples"]
    samples = [few[number % len(few)] | {"id": f"{number:064x}"} for number in range(many)]
    page = report.read_text()
    for part, value in (("facts", facts | {"samples": samples, "total": many}), ("pictures", repeated(page, many))):
        start = page.index(">", page.index(f'id="{part}"')) + 1
        page = page[:start] + inert_json(value) + page[page.index("</script>", start) :]
    (tmp_path / "many.html").write_text(page)
    opened, trouble = look(browser, tmp_path / "many.html")
    assert shown(opened) == many
    assert opened.locator(".card").count() == 24
    opened.locator("button.next").first.click()
    assert opened.locator(".card code").first.inner_text() == f"{24:064x}"[:12]
    assert opened.locator(".card").count() == 24
    task = samples[0]["task"]
    opened.locator(f"input[name=task][value='{task}']").check(force=True)
    assert shown(opened) == sum(sample["task"] == task for sample in samples) < many
    assert opened.locator(".card").count() == 24
    opened.get_by_label("Search").fill(samples[0]["id"])
    assert (shown(opened), opened.locator(".card").count()) == (1, 1)
    assert trouble == []
    opened.context.close()


def repeated(page: str, many: int) -> Any:
    """The page's pictures, with those of the edits as often as there are samples."""
    found = re.search(r'id="pictures">(.*?)</script>', page)
    assert found
    pictures = json.loads(found[1])
    edits = pictures["edits"]
    return pictures | {"edits": [edits[number % len(edits)] for number in range(many)]}


def test_the_same_lake_gives_the_same_bytes(copied: Built, report: Path, tmp_path: Path) -> None:
    """At another path, and from a catalogue made anew."""
    rebuild(copied.lake)
    write_report(copied.lake, collect(copied.lake), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()


def test_each_photo_is_in_the_file_once(report: Path) -> None:
    found = re.search(r'id="pictures">(.*?)</script>', report.read_text())
    assert found
    pictures, facts = json.loads(found[1]), facts_in(report)
    assert len(pictures["photos"]) == len(set(pictures["photos"])) == len(facts["photos"]) == 18
    assert len(pictures["edits"]) == len(facts["samples"])
    assert report.stat().st_size < 1_000_000


def test_a_lake_without_quadruplets_says_so(browser: Browser, tmp_path: Path) -> None:
    lake = create_lake(tmp_path / "lake")
    rebuild(lake)
    write_report(lake, collect(lake), tmp_path / "empty.html")
    page, trouble = look(browser, tmp_path / "empty.html")
    assert page.inner_text("h1") == "No quadruplets yet"
    assert "There are no quadruplets yet" in page.inner_text("#cards")
    assert trouble == []
    page.context.close()


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["omnirefiner", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--version", "v9"], "version 'v9': not in the lake (there are: v1)"),
        (["--version", "v1", "--against", "v9"], "version 'v9': not in the lake"),
        (["--against", "v1"], "report --against v1: "),
    ],
)
def test_trouble_ends_in_one_line(
    arguments: list[str], says: str, built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "report.html"
    assert command(monkeypatch, "report", str(out), "--lake", str(built.lake.root), *arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_json_within_a_script_cannot_end_it() -> None:
    text = inert_json({"</script>": HOSTILE})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"</script>": HOSTILE}


def test_an_outline_gives_the_mask_back() -> None:
    mask = np.zeros((240, 320), np.uint8)
    cv2.ellipse(mask, (120, 100), (70, 40), 30, 0, 360, 1, -1)
    cv2.rectangle(mask, (230, 180), (300, 220), 1, -1)
    path = outline(mask.astype(bool))
    drawn = np.zeros_like(mask)
    for polygon in path.strip("MZ").split("ZM"):
        points = [[int(value) for value in point.split(",")] for point in polygon.split()]
        cv2.fillPoly(drawn, [np.array(points)], 1)
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.97
    assert len(path) < 400
