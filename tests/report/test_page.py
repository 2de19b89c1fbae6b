"""The page without a browser: escaped, whole, and saying what the JSON says."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import documents
import numpy as np
import pytest
import synthetic
from quick import one_in

from wdaverify import cli
from wdaverify.network.onnx_reader import load_network
from wdaverify.problem import GroundCost, Norm
from wdaverify.report import as_json
from wdaverify.report.page import atoms, pictures
from wdaverify.report.page.document import as_document
from wdaverify.report.page.output import text_of, write_figures, write_page
from wdaverify.report.page.view import build

MODELS = Path(__file__).parent.parent.parent / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
Json = dict[str, Any]
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Every start tag with its attributes, all text outside style and script, and whether tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(*made: Json, shape: tuple[int, ...] | None = None, title: str | None = None) -> Page:
    return Page(text_of(build([as_document(data) for data in made], shape, title), "html"))


def unknown() -> Json:
    made = documents.verification(atoms=(), per_sample=(), attacks={}, multiplier=None)
    return {**made, "status": "bracket", "reason": "interrupted", "lower": "-inf", "upper": "inf", "gap": "inf"}


def whole_space() -> Json:
    made = documents.verification()
    made["support"] = {"kind": "whole-space", "lower": "-inf", "upper": "inf", "rows": [], "integer": []}
    made["rays"] = [{"label": 0, "value": 2.5, "direction": [1.0, 0.0]}]
    return {**made, "upper": "inf", "gap": "inf", "status": "bracket", "reason": "unbounded"}


def one_sample() -> Json:
    made = documents.verification()
    made["samples"]["count"], made["atoms"], made["originals"] = 1, made["atoms"][:1], made["originals"][:1]
    return made


def order_inf() -> Json:
    made = documents.verification(problem=synthetic.problem(cost=GroundCost(Norm.INF, math.inf)))
    return {**made, "threshold": -0.1}


def nothing_moved() -> Json:
    made = documents.verification()
    made["atoms"] = made["atoms"][1:]
    made["originals"] = made["originals"][1:]
    return made


def huge() -> Json:
    made = documents.verification()
    return {**made, "lower": -1e300, "upper": 1e300, "gap": "inf", "attacks": {"WDA++": "-inf"}, "nominal": "-inf"}


EXTREMES = {f.__name__: f for f in (unknown, whole_space, one_sample, order_inf, nothing_moved, huge)}
NASTY_KINDS = {f"nasty {kind}": kind for kind in documents.ALL}


@pytest.mark.parametrize("name", [*documents.ALL, *EXTREMES])
def test_pages_are_whole(name: str) -> None:
    made = page({**documents.ALL, **EXTREMES}[name]())
    ids = Counter(a["id"] for _, a in made.tags if "id" in a)
    assert ids.most_common(1)[0][1] == 1
    for _, attributes in made.tags:
        for label in (attributes.get("aria-labelledby") or "").split():
            assert label in ids
        for name, value in attributes.items():
            if name in ("href", "src", "xlink:href") and value is not None:
                assert value.startswith(("#", "data:"))
                assert not value.startswith("#") or value[1:] in ids
    levels = [int(tag[1]) for tag, _ in made.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert "NaN" not in made.text
    assert "nan" not in made.text.split()


@pytest.mark.parametrize("kind", documents.ALL)
def test_nothing_from_a_file_is_markup(kind: str) -> None:
    plain, nasty = page(documents.ALL[kind]()), page(documents.nasty(documents.ALL[kind]()), title=documents.NASTY)
    assert len(nasty.named("script")) == len(nasty.named("style")) - len(nasty.named("svg")) == 1
    assert {tag for tag, _ in nasty.tags} <= {tag for tag, _ in plain.tags} | {"h3", "h4", "p"}
    shown = documents.NASTY.replace("\u202e", r"\u202e").replace("\x1b", r"\x1b")
    assert shown in nasty.text
    assert "{{7*7}}" in nasty.text
    handlers = [name for _, attributes in nasty.tags for name in attributes if name.startswith("on")]
    assert not handlers


def test_nothing_from_a_file_is_markup_among_many() -> None:
    made = page(*(documents.nasty(make()) for make in documents.ALL.values()))
    assert len(made.named("script")) == 1
    assert not any(
        "alert" in str(value) for tag, a in made.tags for name, value in a.items() if name in ("id", "href", "style")
    )


@pytest.mark.parametrize("name", ["verification", "unknown", "whole_space", "huge"])
def test_the_bracket_is_the_json_s(name: str) -> None:
    made = {**documents.ALL, **EXTREMES}[name]()
    html = text_of(build([as_document(made)]), "html")
    ends = re.findall(r'<data class="(lower|upper)" value="([^"]*)">([^<]*)</data>', html)
    assert [end for end, _, _ in ends] == ["lower", "upper"]
    for end, value, shown in ends:
        assert float(value) == float(made[end])
        text = shown.replace("\N{MINUS SIGN}", "-").replace("\N{INFINITY}", "inf")
        if math.isinf(float(made[end])):
            assert float(text) == float(made[end])
            continue
        off = Decimal(text) - Decimal(made[end])
        assert off <= 0 if end == "lower" else off >= 0
        assert abs(off) <= max(Decimal("1e-6"), abs(Decimal(made[end])) * Decimal("1e-14"))


def test_a_question_s_documents_stand_together() -> None:
    apart = documents.verification()
    apart["samples_sha256"] = "c" * 64
    made = build([as_document(d) for d in (documents.verification(), documents.curve(), documents.compare(), apart)])
    assert [len(question.parts) for question in made.questions] == [5, 1]
    headings = [part.heading for part in made.questions[0].parts]
    assert headings[:4] == ["At radius 0.02", "At radius 0.035", "At radius 0.05", "At radius 0.05"]
    radii = made.questions[0].blocks[0]
    assert [row[0].text for row in radii.table.rows] == ["0.02", "0.035", "0.05"]


def test_what_is_said_of_the_ladder() -> None:
    text = page(documents.compare()).text
    for words in (
        "Not available: LipSDP (needs a bounded support), asymptotic (needs the whole space)",
        "wdaverify compare models/tiny.onnx tiny.npz",
        "open circles are estimates",
        "31.800001",
    ):
        assert words in text


def test_moved_mass_by_hand() -> None:
    """Order 2, radius 1: a quarter of sample 0 goes 0.6 and changes its label at a price of 0.8, so that it costs 0.25 * 1."""
    cost = GroundCost(Norm.INF, 2, None, 0.8)
    made = documents.verification(problem=synthetic.problem(cost=cost, radius=1.0))
    first, second = made["atoms"]
    gone = {**first, "weight": 0.25, "distance": 0.6, "label": 1, "predicted": 1}
    stays = {**first, "weight": 0.25, "distance": 0.0, "point": made["originals"][0]["point"], "predicted": 0}
    made["originals"][0].update(label=0, predicted=0, weight=0.5)
    made["originals"][1].update(label=1, predicted=0)  # wrong as it is, which is no flip
    made["atoms"] = [gone, stays, {**second, "point": [0.31, 0.4], "distance": 0.01, "label": 1, "predicted": 0}]
    rows = atoms.moved_mass(made)
    assert [(row.original["sample"], row.mass) for row in rows] == [(1, 0.5), (0, 0.25)]
    assert rows[1].mean == rows[1].farthest == 0.6
    assert rows[1].share == pytest.approx(0.25, rel=1e-12)
    assert rows[1].flips == "class 0 → 1; label 0 → 1"
    assert rows[0].share == pytest.approx(0.5 * 0.01**2, rel=1e-12)
    assert rows[0].flips == ""


def test_atoms_that_are_left_out_are_counted() -> None:
    made = page(documents.many(40))
    assert "The 24 with most moved mass; 16 more are left out." in made.text
    assert len([a for a in made.named("details") if "atom" in (a.get("class") or "")]) == 24


def test_many_samples() -> None:
    html = text_of(build([as_document(documents.many(2000))]), "html")
    assert len(html.encode()) < 5_000_000
    assert len(Page(html).named("tr")) > 4000


def test_pictures() -> None:
    """A 2 x 2 image: what is black, white, raised and lowered is where it was put."""
    import base64
    import io

    from matplotlib.image import imread

    before, after = [0.0, 1.0, 0.5, 0.25], [1.0, 0.0, 0.5, 0.25]
    scale = pictures.Scale(0.0, 1.0, 1.0)
    images = pictures.triptych(before, after, (2, 2), scale, [4])
    first, second, change = (imread(io.BytesIO(base64.b64decode(i.partition(",")[2])))[:, :, :3] for i in images)
    assert first[:, :, 0].ravel() == pytest.approx([0, 1, 0.5, 0.25], abs=1 / 255)
    assert second[:, :, 1].ravel() == pytest.approx([1, 0, 0.5, 0.25], abs=1 / 255)
    assert change[0, 0, 0] > change[0, 0, 2] + 0.3
    assert change[0, 1, 2] > change[0, 1, 0] + 0.3
    assert (change[1] == 1).all()
    colours = np.arange(12.0).reshape(3, 2, 2)
    scale = pictures.Scale(0.0, 11.0, 1.0)
    for point, shape in ((colours.ravel(), [3, 2, 2]), (np.moveaxis(colours, 0, -1).ravel(), [2, 2, 3])):
        made = pictures.triptych(point.tolist(), point.tolist(), (2, 2, 3), scale, shape)[0]
        shown = imread(io.BytesIO(base64.b64decode(made.partition(",")[2])))[:, :, :3]
        assert shown == pytest.approx(np.moveaxis(colours, 0, -1) / 11, abs=1 / 255)


def test_pictures_on_the_page() -> None:
    made = page(documents.many(3, 4), shape=(2, 2))
    images = made.named("img")
    assert len(images) == 9
    assert all((a["src"] or "").startswith("data:image/png;base64,") and a["alt"] for a in images)


QUESTIONS: dict[str, list[str]] = {
    "box": ["--support", "-1", "2", "--norm", "1", "--gap", "1e-4"],
    "whole space": ["--support", "none", "--norm", "2", "--order", "2"],
    "labels": ["--label-cost", "0.25", "--loss", "zero-one", "--order", "inf"],
    "threshold": ["--threshold", "-0.5", "--samples", "7", "--clip", "--seed", "3", "--solver", "highs"],
    "files": ["--cost-weights", "w eights.toml", "--support-file", "it's.toml"],
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_command_asks_the_same_question(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def verify(problem: Any, **options: Any) -> Any:
        asked.append((problem, {k: v for k, v in options.items() if k not in ("progress", "jobs")}))
        solver = type(synthetic.verification().solver)(options["solver"], {}, "none", "")
        result = synthetic.verification(problem=problem, atoms=(), per_sample=(), solver=solver)
        return type(result)(
            **{**vars(result), "gap_asked": options["gap"], "threshold": options["threshold"], "seed": options["seed"]}
        )

    monkeypatch.setattr("wdaverify.wdro.verify.verify", verify)
    monkeypatch.chdir(tmp_path)
    Path("w eights.toml").write_text("weights = [1.0, 2.0, inf, 1.0]\n")
    Path("it's.toml").write_text("lower = 0.0\nupper = [1.0, 1.0, 1.0, 2.0]\n")
    assert cli._run(["verify", NET, DATA, "--radius", "0.05", "--output", "r.json", "--quiet", *QUESTIONS[name]]) == 0
    made = json.loads(Path("r.json").read_text())
    (command,) = re.findall(
        r"wdaverify verify .*", page(made).text.partition("How to recheck")[2].partition(" Network SHA")[0]
    )
    assert cli._run([*shlex.split(command)[1:], "--quiet", "--output", "again.json"]) == 0
    again = json.loads(Path("again.json").read_text())
    assert again | {"made": ""} == made | {"made": ""}
    (_, first), (_, second) = asked
    assert first == second


def test_a_certificate_is_to_be_rechecked() -> None:
    files = as_json.files_json("net.onnx", "-data.npz", certificate="my proof.cert")
    text = page(documents.verification(files=files)).text
    assert "wdaverify recheck net.onnx ./-data.npz 'my proof.cert'" in text


@pytest.mark.parametrize("name", one_in(4, [*documents.ALL, *EXTREMES, *NASTY_KINDS]))
def test_figures_are_files(name: str, tmp_path: Path) -> None:
    kind = NASTY_KINDS.get(name)
    made = {**documents.ALL, **EXTREMES}[name]() if kind is None else documents.nasty(documents.ALL[kind]())
    report = build([as_document(made)])
    for kind in ("svg", "pdf"):
        paths = [Path(path) for path in write_figures(report, kind, str(tmp_path / "out.html"))]
        assert len(paths) == len(report.figures())
        for path in paths:
            assert path.name.startswith(("out-q1", "out-b1-r"))
            content = path.read_bytes()
            if kind == "svg":
                assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
            else:
                assert content.startswith(b"%PDF-")
                assert content.rstrip().endswith(b"%%EOF")
    again = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    for kind in ("svg", "pdf"):
        write_figures(build([as_document(made)]), kind, str(tmp_path / "out.html"))
    assert again == [path.read_bytes() for path in sorted(tmp_path.iterdir())]


def test_pages_are_reproducible() -> None:
    made = documents.compare()
    pages = {text_of(build([as_document(made)]), "html") for _ in range(2)}
    assert len(pages) == 1


@pytest.mark.parametrize(("theme", "count"), [("light", 1), ("dark", 2), ("print", 3)])
def test_contrast(theme: str, count: int) -> None:
    """WCAG 2: at least 4.5 for text, in each theme."""
    style = (Path(cli.__file__).parents[1] / "report" / "page" / "style.css").read_text()
    colours: dict[str, str] = {}
    found = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(found) == 3
    for block in (found[0], found[count - 1]):
        colours |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))

    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        line = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2]

    for name in ("ink", "muted", "link", "exact", "attack", "certificate", "good", "open"):
        for ground in ("paper", "shade"):
            pair = sorted((light(colours[name]), light(colours[ground])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (theme, name, ground)


def test_a_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = synthetic.verification()
    monkeypatch.setattr("wdaverify.wdro.verify.verify", lambda problem, **_: result)
    target = tmp_path / "page.html"
    ask = ["verify", NET, DATA, "--radius", "0.05", "--quiet", "--report", str(target)]
    assert cli._run(ask) == 0
    made = Page(target.read_text(encoding="utf-8"))
    assert "∈ [ −0.12345679 , −0.12345620 ]" in made.text
    target.unlink()
    assert cli._run([*ask, "--image-shape", "2", "3"]) == 2
    assert cli._run([*ask[:-2], "--image-shape", "2", "2"]) == 2
    assert not list(tmp_path.iterdir())


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    made = documents.verification()
    made["network"]["name"] = "half \ud800 a pair"
    write_page(str(tmp_path / "page.html"), made)
    assert "half \\ud800 a pair" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_models_of_the_project(tmp_path: Path) -> None:
    """A real network end to end: predictions are those of the network."""
    target = tmp_path / "r.json"
    assert cli._run(["attack", NET, DATA, "--radius", "0.2", "--samples", "4", "--output", str(target), "--quiet"]) == 0
    made = json.loads(target.read_text())
    network = load_network(NET)
    for entry in (*made["atoms"], *made["originals"]):
        logits = network.forward(np.array([entry["point"]]))[0]
        assert entry["predicted"] == max(range(3), key=lambda k: logits[k])
    assert {o["sample"] for o in made["originals"]} == {a["sample"] for a in made["atoms"]}
    page(made)


def test_the_shape_of_an_image_is_that_of_the_channels() -> None:
    shapes = {(1, 28, 28): (28, 28, 1), (3, 8.0, 6): (8, 6, 3)}
    for given, wanted in shapes.items():
        assert pictures.own_shape(given, math.prod(given)) == wanted
        assert all(type(size) is int for size in pictures.own_shape(given, math.prod(given)))
    for other in (
        (784,),
        (28, 28),
        (2, 8, 8),
        (1, 1, 8),
        (1, 3, 8, 6),
        (8, 6, 3),
        (8, 6, 1),
        (3, 5, 1),
        (-1, -2, 2),
        (0, 2, 2),
    ):
        assert pictures.own_shape(other, math.prod(other)) is None
    assert pictures.own_shape((1, 2, 2), 8) is None
