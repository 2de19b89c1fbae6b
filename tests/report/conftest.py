"""A real browser, Debian's Chromium, for the pages."""

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
def chromium() -> Iterator[Any]:
    """Chromium by WDAVERIFY_CHROMIUM or from the path, started once."""
    path = os.environ.get("WDAVERIFY_CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing("chromium is not installed, and WDAVERIFY_CHROMIUM names none", "apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()
