"""The site as it was built: pages that ask for nothing from any network, a search that works from files, no violation of axe-core."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import axe
import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))


def test_the_site_is_built() -> None:
    assert {"index.html", "api.html", "mistakes.html", "notebooks/digits-torch.html"} <= set(PAGES)


def test_axe_finds_what_is_wrong(chromium: Any) -> None:
    page = chromium.new_page()
    page.set_content("<html><body><img src='data:,'><p style='color:#ccc'>pale</p></body></html>")
    found = " ".join(axe.violations(page))
    assert {rule for rule in ("image-alt", "color-contrast", "html-has-lang") if rule in found} == {
        "image-alt",
        "color-contrast",
        "html-has-lang",
    }
    page.close()


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_asked_of_any_network(page: str) -> None:
    """No script, style, font or picture of a page or of its styles lies elsewhere."""
    text = (SITE / page).read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|img|iframe|source)[^>]*\bsrc=\"?(?:https?:)?//[^ >]*", text)
    assert not re.findall(
        r"<link[^>]*rel=\"?(?:stylesheet|preconnect|preload)\"?[^>]*href=\"?(?:https?:)?//[^ >]*", text
    )


FEW = ["faq.html", "how-to.html", "index.html", "notebooks/tabular-sklearn.html", "which-question.html"]
EVERY = pytest.param(PAGES, marks=pytest.mark.full, id="every")


@pytest.mark.parametrize("names", [pytest.param(FEW, id="few"), EVERY])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation_of_axe(chromium: Any, scheme: str, names: list[str]) -> None:
    """On every page of the site (of decisions in light alone), opened from its file; no page asks for anything else than files either."""
    context = chromium.new_context(
        color_scheme=scheme, reduced_motion="reduce", viewport={"width": 1200, "height": 900}
    )
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    found = {}
    for name in names:
        if scheme == "light" or not name.startswith("adr/0"):
            page.goto((SITE / name).as_uri())
            found[name] = axe.violations(page)
    context.close()
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_sticks_out(chromium: Any, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    wide = {}
    for name in PAGES:
        page.goto((SITE / name).as_uri())
        wide[name] = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert {name: size for name, size in wide.items() if size > width} == {}


def test_the_search_works_from_files(chromium: Any) -> None:
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    page.goto((SITE / "index.html").as_uri())
    page.get_by_placeholder("Search").fill("multiplier")
    page.wait_for_selector(".md-search-result__item a", timeout=15000)
    assert page.locator(".md-search-result__item").count() > 2
    page.close()


def test_what_the_notebooks_show() -> None:
    """Each result shows its bracket and a figure; no cell ended in an error (the build would have failed)."""
    for name in ("digits-torch", "tabular-sklearn"):
        text = (SITE / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert len(re.findall(r"<b>answer</b></td>\s*<td[^>]*>exact: ", text)) >= 2, name
        assert "data:image/svg+xml" in text
        assert len(re.findall(r"<img[^>]+src=\"?[\w-]+\.png", text)) >= 1
        assert "Figure size" not in text  # a figure that is shown as a picture is not told as text
        assert "Traceback" not in text


def test_every_public_name_is_in_the_reference() -> None:
    import wdaverify

    ids = set(re.findall(r"id=\"?([\w.]+)", (SITE / "api.html").read_text(encoding="utf-8")))
    assert {f"wdaverify.{name}" for name in wdaverify.__all__} <= ids


def test_the_index_knows_every_page() -> None:
    index = json.loads((SITE / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {entry["location"].split("#")[0] for entry in index["docs"]} >= set(PAGES)
