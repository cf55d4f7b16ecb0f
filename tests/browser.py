"""The browser that tests look at pages with: the system's Chromium, headless."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, or skip, loudly; fail where OMNIREFINER_NEEDS_BROWSER says that there must be one."""
    if CHROMIUM is None and os.environ.get("OMNIREFINER_NEEDS_BROWSER"):
        pytest.fail("no Chromium on the path: the pages cannot be looked at")
    if CHROMIUM is None:
        pytest.skip("SKIPPED: no Chromium on the path, no page was looked at; `apt-get install chromium`")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET + alone)
