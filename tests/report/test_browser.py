"""The page in a real browser: complete, still, and nothing is asked of any network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import documents
import pytest
from quick import one_in

from wdaverify import cli

Json = dict[str, Any]
DESK, PHONE = 1280, 390


@dataclass
class Visit:
    """A page that was opened, what it asked for and what it complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


Open = Callable[..., Visit]


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Open the report of some documents; at the end nothing may have been complained about or asked for but the file itself."""
    visits: list[Visit] = []
    target = tmp_path / "report.html"

    def open_(*made: Json, width: int = DESK, options: tuple[str, ...] = (), **context: Any) -> Visit:
        sources = []
        for k, document in enumerate(made):
            sources.append(str(tmp_path / f"{k}.json"))
            Path(sources[-1]).write_text(json.dumps(document))
        assert cli._run(["report", *sources, "--output", str(target), *options]) == 0
        opened = chromium.new_context(viewport={"width": width, "height": 800}, **context)
        visited = Visit(opened.new_page())
        opened.on("request", lambda request: visited.requests.append(request.url))
        visited.page.on("console", lambda message: visited.complaints.append(message.text))
        visited.page.on("pageerror", lambda error: visited.complaints.append(str(error)))
        visited.page.on("dialog", lambda dialog: visited.complaints.append(dialog.message))
        visited.page.goto(target.as_uri(), wait_until="networkidle")
        visits.append(visited)
        return visited

    yield open_
    for visited in visits:
        assert visited.complaints == []
        asked = [url for url in visited.requests if not url.startswith("data:")]
        assert asked == [target.as_uri()]
        visited.page.context.close()


def every_kind() -> list[Json]:
    return [make() for make in documents.ALL.values()]


@pytest.mark.parametrize("kind", documents.ALL)
def test_the_bracket_shown_is_the_json_s(kind: str, visit: Open) -> None:
    made = documents.ALL[kind]()
    page = visit(made).page
    if kind in ("verification", "attack", "lipschitz"):
        shown = page.locator("data.lower").first
        assert float(shown.get_attribute("value")) == made["lower"]
        text = Decimal(shown.inner_text().replace("\N{MINUS SIGN}", "-"))
        assert Decimal("-1e-6") <= text - Decimal(made["lower"]) <= 0
    if kind in ("verification", "lipschitz"):
        text = Decimal(page.locator("data.upper").first.inner_text().replace("\N{MINUS SIGN}", "-"))
        assert 0 <= text - Decimal(made["upper"]) <= Decimal("1e-6")
    if kind == "compare":
        values = [float(end.get_attribute("value")) for end in page.locator("data.lower").all()]
        assert values == [ladder["lower"] for ladder in made["ladders"]]


def test_the_plots_are_there(visit: Open) -> None:
    page = visit(*every_kind()).page
    plots = page.locator("figure svg")
    assert plots.count() >= 8
    for plot in plots.all():
        box = plot.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        assert plot.locator("path").count() > 5
    named = page.get_by_role("img", name="The ladder of bounds")
    assert named.count() >= 3
    assert page.get_by_text("product of layer norms").first.is_visible()


def test_the_table_sorts(visit: Open) -> None:
    """By the keyboard alone: upwards, downwards, and entries without a value last both times."""
    made = documents.many(12)
    for k, atom in enumerate(made["atoms"]):
        atom["weight"] = 0.01 * ((7 * k) % 12 + 1)
    page = visit(made).page
    region = page.get_by_role("group", name="The worst case by sample")
    head = region.get_by_role("columnheader", name="Moved", exact=True)
    cells = region.locator("tbody tr td:nth-child(3)")

    def keys() -> list[float]:
        return [float(cell.get_attribute("data-key")) for cell in cells.all()]

    before = keys()
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert keys() == sorted(before)
    assert len(set(before)) > 5
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert keys() == sorted(before, reverse=True)
    region.get_by_role("button", name="Sample", exact=True).click()
    assert head.get_attribute("aria-sort") is None
    assert region.locator("[aria-sort]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, PHONE])
def test_a_batch(width: int, scheme: str, visit: Open) -> None:
    """The table holds every row and its bracket, sorts, and leads to each row's own section, which holds the bracket too."""
    made = documents.batch()
    page = visit(made, width=width, color_scheme=scheme).page
    region = page.get_by_role("group", name="The rows of the batch")
    rows = region.locator("tbody tr")
    assert rows.locator("td:first-child").all_inner_texts() == [row["name"] for row in made["rows"]]
    for row, shown in zip(made["rows"], rows.all(), strict=True):
        ends = [shown.locator(f"td:nth-child({k})").get_attribute("data-key") for k in (2, 3)]
        if row["result"] is None:
            assert ends == ["", ""]
            assert shown.locator("a").count() == 0
            continue
        assert [float(end) for end in ends] == [row["result"]["lower"], row["result"]["upper"]]
        at = shown.locator("a").get_attribute("href")
        section = page.locator(at)
        assert section.locator("h2").inner_text().startswith(f"{row['name']}: Worst-case margin loss of tiny")
        for end in ("lower", "upper"):
            value = float(section.locator(f"data.{end}").first.get_attribute("value"))
            assert value == row["result"][end]
        shown.locator("a").click()
        assert page.evaluate("location.hash") == at
    region.get_by_role("button", name="Upper", exact=True).click()
    order = ["margin", "open", "decided", "no data", "late"]
    assert rows.locator("td:first-child").all_inner_texts() == order
    assert page.locator("section.question").count() == 3
    assert page.get_by_text("no data: refused: 'nowhere.npz': no such file").is_visible()
    assert page.get_by_text("1 exact, 1 verified, 1 open, 1 refused, 1 not begun.").is_visible()
    assert "2 of 5 rows" in page.locator("#b1").inner_text()


def test_a_batch_that_is_done(visit: Open) -> None:
    made = documents.batch()
    made["rows"], made["done"] = made["rows"][:2], True
    text = visit(made).page.locator("#b1").inner_text()
    assert "ALL EXACT OR DECIDED" in text
    assert "Rows without an answer" not in text


def test_entries_without_a_value_stay_last(visit: Open) -> None:
    page = visit(documents.compare()).page
    page.locator("details").evaluate_all("folds => folds.forEach(fold => fold.open = true)")
    region = page.get_by_role("group", name="The ladder at radius 0.02")
    for _ in range(2):
        region.get_by_role("button", name="Value").click()
        assert region.locator("tbody tr td:nth-child(3)").all_inner_texts()[-2:] == ["n/a", "n/a"]


@pytest.mark.parametrize(("width", "what"), one_in(2, [DESK, PHONE, 320], ["every kind", "nasty", "many"]))
def test_nothing_sticks_out(width: int, what: str, visit: Open) -> None:
    made = {
        "every kind": every_kind(),
        "nasty": [documents.nasty(d) for d in every_kind()],
        "many": [documents.many(2000, 12)],
    }
    page = visit(*made[what], width=width).page
    page.locator("details").evaluate_all("folds => folds.forEach(fold => fold.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_of_a_file_runs(visit: Open) -> None:
    visited = visit(*(documents.nasty(d) for d in every_kind()), options=("--title", documents.NASTY))
    assert visited.page.locator("script").count() == 1
    assert "<script>alert(1)</script>" in visited.page.locator("h1").inner_text()


def test_letters_of_a_plot_are_readable_on_a_phone(visit: Open) -> None:
    page = visit(documents.compare(), width=PHONE).page
    heights = [text.bounding_box()["height"] for text in page.locator("figure").nth(1).locator("svg text").all()]
    assert min(heights) >= 9


def test_dark_and_light(visit: Open) -> None:
    """The plots take the page's colours."""
    script = "text => [getComputedStyle(text).fill, getComputedStyle(document.body).backgroundColor]"
    colours = {}
    for scheme in ("light", "dark"):
        page = visit(documents.verification(), color_scheme=scheme).page
        colours[scheme] = page.locator("figure svg text", has_text="WDA++").first.evaluate(script)
    assert colours == {
        "light": ["rgb(27, 29, 31)", "rgb(255, 255, 255)"],
        "dark": ["rgb(230, 232, 234)", "rgb(22, 24, 26)"],
    }


def test_without_scripts(visit: Open) -> None:
    page = visit(*every_kind(), java_script_enabled=False).page
    assert page.get_by_role("button").count() == 0
    assert page.locator("table").count() > 10
    assert "−0.12345679" in page.locator("body").inner_text()
    page.locator("details summary").first.click()
    assert page.locator("details table").first.is_visible()


def test_on_paper(visit: Open) -> None:
    """Folds are open, heads are text, tables are whole; afterwards all is as it was."""
    page = visit(documents.many(60)).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("th button").count() == 0
    region = page.get_by_role("group", name="The worst case by sample")
    assert region.evaluate("box => box.scrollHeight - box.clientHeight") <= 1
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 10
    assert page.locator("th button").count() > 10


def test_for_a_screen_reader(visit: Open) -> None:
    page = visit(documents.verification()).page
    tree = page.locator("body").aria_snapshot()
    for words in (
        'heading "Worst-case margin loss of tiny" [level=1]',
        'link "Skip to the content"',
        'group "Answer"',
        'img "The ladder of bounds',
        'group "The worst case by sample"',
        "contentinfo",
        "main",
    ):
        assert words in tree, tree
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"


@pytest.mark.parametrize("asked", [True, False])
def test_pictures(visit: Open, *, asked: bool) -> None:
    """Asked for, or of a network whose own input has channels."""
    document = documents.many(3, 4)
    document["network"]["input_shape"] = [4] if asked else [1, 2, 2]
    page = visit(document, options=("--image-shape", "2", "2") if asked else ()).page
    sizes = page.locator("ul.pictures img").evaluate_all(
        "all => all.map(i => [i.naturalWidth, i.naturalHeight, i.alt])"
    )
    assert len(sizes) == 9
    assert all(size[:2] == [2, 2] for size in sizes)
    assert {size[2].partition(": ")[2] for size in sizes} == {"original", "worst case", "difference"}
