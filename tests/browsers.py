"""A real browser, Debian's Chromium, for pages: fixtures of tests that open them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from elsewhere import missing

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Chromium by WDAVERIFY_CHROMIUM or from the path."""
    path = os.environ.get("WDAVERIFY_CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing("chromium is not installed, and WDAVERIFY_CHROMIUM names none", "apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def chromium(browser_path: str) -> Iterator[Any]:
    """The browser, started once."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=_FLAGS)
        yield browser
        browser.close()
