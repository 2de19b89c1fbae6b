"""No violation of axe-core on the pages of reports: every kind of result, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe
import documents
import pytest

from wdaverify import cli
from wdaverify.wdro.result import Reason, Status

OPEN: dict[str, Any] = {"status": Status.BRACKET, "lower": -0.25, "upper": 0.5, "reason": Reason.TIME_LIMIT}
PAGES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "verification": lambda: [documents.verification()],
    "open": lambda: [documents.verification(**OPEN)],
    "attack": lambda: [documents.attack()],
    "curve": lambda: [documents.curve()],
    "distances": lambda: [documents.distances()],
    "compare": lambda: [documents.compare()],
    "lipschitz": lambda: [documents.lipschitz()],
    "batch": lambda: [documents.batch()],
    "several": lambda: [documents.verification(), documents.curve(), documents.distances(), documents.compare()],
    "many": lambda: [documents.many(60)],
}


LONG = {"many", "compare", "curve", "attack"}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.full] * (kind in LONG)) for kind in PAGES])
def test_no_violation_of_axe(kind: str, chromium: Any, tmp_path: Path) -> None:
    files = []
    for k, document in enumerate(PAGES[kind]()):
        (tmp_path / f"{k}.json").write_text(json.dumps(document))
        files.append(str(tmp_path / f"{k}.json"))
    assert cli._run(["report", *files, "--output", str(tmp_path / "page.html")]) == 0
    found = {}
    for scheme, width in (("light", 1200), ("dark", 390)):
        page = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        page.goto((tmp_path / "page.html").as_uri())
        page.locator("details").evaluate_all("folds => folds.forEach(fold => fold.open = true)")
        found[scheme] = axe.violations(page)
        page.close()
    assert found == {"light": [], "dark": []}
