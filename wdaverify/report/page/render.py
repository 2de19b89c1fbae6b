"""A report as one HTML file that needs nothing else: styles, script, plots and pictures stand in it."""

from __future__ import annotations

import math
from importlib import resources

from wdaverify.report.page.content import Figure, Report
from wdaverify.report.page.ink import inline_svg


def html(report: Report) -> str:
    """The page."""
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    def svg(figure: Figure) -> Markup:
        return Markup(inline_svg(figure.draw, figure.key, figure.title, figure.description))

    files = {name: _file(name) for name in ("page.html.j2", "blocks.html.j2", "style.css", "sort.js")}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=DictLoader(files), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["svg"] = svg
    environment.filters["visible"] = visible
    environment.filters["key"] = _key
    style, script = Markup(files["style.css"]), Markup(files["sort.js"])
    page = environment.get_template("page.html.j2").render(report=report, style=style, script=script)
    return "".join(line.rstrip() + "\n" for line in page.splitlines())


def visible(text: str) -> str:
    """Text with its control characters, and what turns the direction of writing, shown as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


def _key(value: float | str | None) -> str:
    """What a column is sorted by, as an attribute: numbers exactly, nothing last."""
    if isinstance(value, float | int):
        return repr(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    return "" if value is None else visible(value)


def _file(name: str) -> str:
    return resources.files("wdaverify.report.page").joinpath(name).read_text(encoding="utf-8")
