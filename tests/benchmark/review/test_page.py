"""The page, used as people do: in a real browser, with keys, a mouse and a finger."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from benchmark.review.session import Session
from schemas.reviews import REASONS, Kind
from tasks import ledger
from tasks.ledger import Row
from tests.benchmark.review.conftest import Open, Serve
from tests.browser import chromium
from tests.conftest import Built

DESKTOP, PHONE = (1366, 820), (360, 740)
HOSTILE = "</script><img src=x onerror=alert(1)><!--'\"&amp;\u2028{{7*7}}"
Look = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(built: Built) -> Iterator[Browser]:
    """A headless Chromium, started after the build: both want this thread's event loop."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def look(browser: Browser, served: Serve) -> Iterator[Look]:
    """Open a session's page and wait for its first item. At the end nothing may have been complained of."""
    trouble: list[str] = []
    contexts = []

    def dismiss(dialog: Dialog) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_page(session: Session, size: tuple[int, int] = DESKTOP, address: str | None = None) -> Page:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=size == PHONE)
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: trouble.append(f"console: {said.text}") if "500" not in said.text else None)
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", dismiss)
        page.goto(address or served(session))
        shown(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def shown(page: Page) -> Page:
    """Wait until an item can be judged."""
    page.wait_for_selector("main[aria-busy=false]")
    return page


def press(page: Page, *keys: str) -> None:
    """Press keys, each when what the one before did is shown."""
    for key in keys:
        page.keyboard.press(key)
        shown(page)


def place(page: Page) -> str:
    return page.inner_text("#place")


def said(built: Built) -> list[tuple[Any, ...]]:
    """Return what the ledger holds, in order."""
    rows: list[Row] = [row for file in ledger.files(built.lake, "reviews")
                       for row in ledger.read(built.lake, "reviews", file)]  # fmt: skip
    return [(row["reviewer"], row["item_id"], row["verdict"], row["reason"]) for row in rows]


def ids(session: Session) -> list[str]:
    return [row["item_id"] for row in session.drawn.rows]


def test_keys_keep_and_drop_for_a_reason_and_the_page_goes_on(look: Look, opened: Open, copied: Built) -> None:
    session = opened()
    page = look(session)
    assert (place(page), page.inner_text("#judged")) == ("sample 1 of 4", "0 judged")
    page.keyboard.press("k")
    expect(page.locator("#place")).to_have_text("sample 2 of 4")
    expect(page.locator("#status")).to_have_text("Saved: keep. Others: nobody else yet")
    shown(page)
    page.keyboard.press("3")  # no reason is asked for yet
    page.keyboard.press("d")
    assert page.locator("#reasons button").all_inner_texts()[:-1] == [
        f"{number} {reason}" for number, reason in enumerate(REASONS[Kind.SAMPLE], start=1)
    ]
    page.keyboard.press("k")  # a reason is asked for now
    page.keyboard.press("3")
    expect(page.locator("#place")).to_have_text("sample 3 of 4")
    expect(page.locator("#judged")).to_have_text("2 judged")
    shown(page)
    page.keyboard.press("d")
    page.keyboard.press("Escape")
    expect(page.locator("#reasons")).to_be_hidden()
    assert place(page) == "sample 3 of 4"
    first, second = ids(session)[:2]
    assert said(copied) == [("anna", first, "keep", None), ("anna", second, "drop", "tells-too-much")]
    press(page, "k", "k")
    expect(page.locator("h1")).to_have_text("All 4 are judged")
    press(page, "ArrowLeft")
    assert place(page) == "sample 4 of 4"


def test_undo_takes_the_last_back_and_a_later_verdict_replaces(look: Look, opened: Open, copied: Built) -> None:
    session = opened()
    page = look(session)
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("There is nothing to undo.")
    press(page, "k", "k", "u")
    expect(page.locator("#status")).to_have_text("Undone.")
    assert (place(page), page.inner_text("#judged")) == ("sample 2 of 4", "1 judged")
    press(page, "d", "1", "u", "u")
    assert (place(page), page.inner_text("#judged")) == ("sample 1 of 4", "0 judged")
    first, second = ids(session)[:2]
    assert [(item, verdict) for _, item, verdict, _ in said(copied)] == [
        (first, "keep"), (second, "keep"), (second, "undone"), (second, "drop"), (second, "undone"), (first, "undone"),
    ]  # fmt: skip


def test_a_refresh_and_a_new_session_go_on_where_one_was(look: Look, opened: Open, served: Serve) -> None:
    session = opened()
    address = served(session)
    page = look(session, address=address)
    press(page, "k", "k")
    page.reload()
    shown(page)
    assert (place(page), page.inner_text("#judged")) == ("sample 3 of 4", "2 judged")
    press(page, "ArrowLeft")
    expect(page.locator("#about .keep")).to_have_text("you: keep")
    page.keyboard.press("u")
    expect(page.locator("#judged")).to_have_text("1 judged")
    again = opened(count=1000)
    assert ids(again)[0] == ids(session)[1]
    assert again.judged() == 1


def test_others_are_shown_only_beside_ones_own_verdict(look: Look, opened: Open) -> None:
    anna, ben = look(opened("anna")), look(opened("ben"))
    press(anna, "d", "4")
    assert "anna" not in ben.inner_text("body")
    press(ben, "k")
    expect(ben.locator("#status")).to_have_text("Saved: keep. Others: anna: drop: not-visible")
    press(ben, "ArrowLeft")
    expect(ben.locator("#about .others")).to_have_text("anna: drop: not-visible")
    press(ben, "ArrowRight")
    assert "anna" not in ben.inner_text("main")
    press(anna, "ArrowLeft")
    expect(anna.locator("#about .others")).to_have_text("ben: keep")


def test_what_was_measured_is_shown_when_asked_for_or_beside_ones_own_verdict(look: Look, opened: Open) -> None:
    page = look(opened(kind=Kind.PAIR))
    expect(page.locator("#figures")).to_be_empty()
    page.keyboard.press("s")
    assert [text.rpartition(" ")[0] for text in page.locator("#figures span").all_inner_texts()[:3]] == [
        "same product", "style", "viewpoint",
    ]  # fmt: skip
    page.keyboard.press("s")
    expect(page.locator("#figures")).to_be_empty()
    press(page, "k")
    expect(page.locator("#figures")).to_be_empty()
    press(page, "ArrowLeft")
    expect(page.locator("#figures")).to_contain_text("viewpoint")


def test_a_note_goes_with_the_verdict_and_its_letters_judge_nothing(look: Look, opened: Open, copied: Built) -> None:
    page = look(opened())
    page.keyboard.press("n")
    page.keyboard.type("kudzu? drop")
    page.keyboard.press("Enter")
    assert said(copied) == []
    press(page, "k")
    (file,) = ledger.files(copied.lake, "reviews")
    assert ledger.read(copied.lake, "reviews", file)[0]["note"] == "kudzu? drop"
    assert page.input_value("#note") == ""
    press(page, "ArrowLeft")
    assert page.input_value("#note") == "kudzu? drop"


def test_a_key_that_is_held_judges_one_item(look: Look, opened: Open, copied: Built) -> None:
    page = look(opened())
    for _ in range(5):  # each after the first is a repeat
        page.keyboard.down("k")
        page.wait_for_timeout(30)
    page.keyboard.up("k")
    expect(page.locator("#place")).to_have_text("sample 2 of 4")
    assert len(said(copied)) == 1


def test_the_truth_is_seen_in_place_while_space_is_held(look: Look, opened: Open) -> None:
    page = look(opened())
    layer, outline = page.locator(".compare .layer"), page.locator(".compare .outline")
    expect(layer).to_be_visible()
    page.keyboard.down(" ")
    expect(layer).to_be_hidden()
    expect(outline).to_be_hidden()
    page.keyboard.up(" ")
    expect(layer).to_be_visible()
    page.keyboard.press("m")
    expect(outline).to_be_hidden()
    page.keyboard.press("m")
    expect(outline).to_be_visible()


def test_the_slider_uncovers_the_truth_and_leaves_the_arrows_to_the_items(look: Look, opened: Open) -> None:
    page = look(opened())
    stage = page.locator(".compare")
    box = stage.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    clip = page.locator(".compare .layer").evaluate("layer => getComputedStyle(layer).clipPath")
    at = float(page.locator(".compare input").input_value())
    assert 20 < at < 30
    assert f"{100 - at:g}%" in clip
    press(page, "k")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#place")).to_have_text("sample 1 of 4")


def test_closer_shows_the_edited_place_in_all_but_the_reference(look: Look, opened: Open) -> None:
    page = look(opened())

    def views() -> list[str]:
        return [str(svg.get_attribute("viewBox")) for svg in page.locator("#pictures figure svg").all()]

    reference, *whole = views()
    page.keyboard.press("z")
    still, *closer = views()
    assert still == reference
    assert len(set(closer)) == 1
    left, top, width, height = map(float, closer[0].split())
    of_width, of_height = map(float, whole[0].split()[2:])
    assert 0 <= left <= left + width <= of_width + 1e-6
    assert 0 <= top <= top + height <= of_height + 1e-6
    assert width / height == pytest.approx(of_width / of_height, rel=1e-3)
    page.keyboard.press("z")
    assert views() == [reference, *whole]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("kind", Kind)
def test_each_kind_fits_the_screen_and_its_pictures_load(
    kind: Kind, size: tuple[int, int], look: Look, opened: Open
) -> None:
    page = look(opened(kind=kind), size)
    assert page.locator("#pictures figure").count() == {"pair": 2, "edit": 3, "sample": 3}[kind]
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    widths = page.locator("#pictures figure .stage").evaluate_all("all => all.map(one => one.clientWidth)")
    assert min(widths) >= 100
    decode = """image => {
        const own = new Image();
        own.src = image.getAttribute("href");
        return own.decode().then(() => own.naturalWidth);
    }"""
    assert all(image.evaluate(decode) > 0 for image in page.locator("#pictures image").all())
    footer = page.locator("footer").bounding_box()
    assert footer
    assert footer["y"] + footer["height"] <= size[1] + 1


def test_a_finger_judges_too(look: Look, opened: Open, copied: Built) -> None:
    session = opened()
    page = look(session, PHONE)
    page.tap("#keep")
    expect(page.locator("#place")).to_have_text("sample 2 of 4")
    shown(page)
    page.tap("#drop")
    page.get_by_role("button", name="side-wrong").tap()
    expect(page.locator("#place")).to_have_text("sample 3 of 4")
    assert [row[2:] for row in said(copied)] == [("keep", None), ("drop", "side-wrong")]


def test_the_keys_are_told_and_judge_nothing_meanwhile(look: Look, opened: Open, copied: Built) -> None:
    page = look(opened())
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    assert said(copied) == []


def test_what_is_not_saved_is_told_and_the_item_stays(look: Look, opened: Open, copied: Built) -> None:
    session = opened()
    page = look(session)
    reviews = copied.lake.root / "ledger" / "reviews"
    reviews.write_text("in the way")
    press(page, "k")
    expect(page.locator("#status.bad")).to_contain_text("Not saved: lake")
    assert (place(page), page.inner_text("#judged")) == ("sample 1 of 4", "0 judged")
    reviews.unlink()
    press(page, "k")
    expect(page.locator("#place")).to_have_text("sample 2 of 4")


def test_words_and_names_are_never_markup(look: Look, opened: Open) -> None:
    session = opened()
    rows = tuple({**row, "product": HOSTILE, "edit_instruction": HOSTILE} for row in session.drawn.rows)
    page = look(dataclasses.replace(session, drawn=dataclasses.replace(session.drawn, rows=rows)))
    assert HOSTILE in page.inner_text("#words").replace("\n", "\u2028")
    assert page.locator("img").count() == 0


def test_a_page_without_the_token_says_what_to_open(browser: Browser, opened: Open, served: Serve) -> None:
    page = browser.new_page()
    page.goto(served(opened()).partition("#")[0])
    expect(page.locator("#status.bad")).to_contain_text("open the address that `omnirefiner review` prints")
    page.close()
