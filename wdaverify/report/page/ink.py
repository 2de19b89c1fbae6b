"""How plots are drawn: one style, colours by role, and SVG that takes its colours from the page it stands in."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4.0
"""Inches. Narrow, so that a plot scaled down to a phone's width is still readable."""

_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Palette:
    """A colour for each role in a plot."""

    ink: str
    muted: str
    rule: str
    paper: str
    exact: str
    attack: str
    certificate: str


PAPER = Palette("#1a1a1a", "#5a5a5a", "#cfcfcf", "#ffffff", "#1a1a1a", "#b3501d", "#1f5f9e")
"""For figures that stand alone."""

_ROLES = Palette("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06", "#0a0b07")
"""Colours that stand for roles until the SVG takes the page's own (its CSS variables) instead."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wdaverify",
    "pdf.fonttype": 42,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    "text.usetex": False,
    "figure.dpi": 72,
}


def inline_svg(draw: Callable[[Palette], Figure], key: str, title: str, description: str) -> str:
    """The plot as an SVG element: named for a screen reader, ids of its own, colours by CSS variables."""
    root = ElementTree.fromstring(_saved(draw, _ROLES, "svg"))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("metadata"):
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            element.set(name, _adapted(name, value, key))
    for name, text in (("desc", description), ("title", title)):
        element = ElementTree.Element(f"{{{_SVG}}}{name}", {"id": f"{key}-{name}"})
        element.text = text
        root.insert(0, element)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-desc")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    return ElementTree.tostring(root, encoding="unicode")


def figure_file(draw: Callable[[Palette], Figure], kind: str) -> bytes:
    """The plot as the bytes of an "svg" or "pdf" file."""
    return _saved(draw, PAPER, kind)


def _saved(draw: Callable[[Palette], Figure], palette: Palette, kind: str) -> bytes:
    import matplotlib

    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"CreationDate": None, "Producer": None, "Creator": "wdaverify"}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from.*font")  # a file's own text may be in any script
        draw(palette).savefig(
            stream, format=kind, metadata=metadata, transparent=palette is _ROLES, facecolor=palette.paper
        )
    return stream.getvalue()


def _adapted(name: str, value: str, key: str) -> str:
    """An attribute with the figure's key before every id, roles for colours, and the page's own font."""
    if name == "id":
        return f"{key}-{value}"
    if name.endswith("href") and value.startswith("#"):
        return f"#{key}-{value[1:]}"
    value = re.sub(r"url\(#", f"url(#{key}-", value)
    if name == "style":
        value = re.sub(r"font: ([^;]*?px)[^;]*", r"font: \1 var(--sans)", value)
    for role, colour in vars(_ROLES).items():
        value = value.replace(colour, f"var(--{role})")
    return value


def printable(text: str, longest: int = 28) -> str:
    """Text of a file as a plot can hold it: printable, ASCII or not, and short."""
    clean = "".join(c if c.isprintable() and ord(c) < 0x10000 else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
