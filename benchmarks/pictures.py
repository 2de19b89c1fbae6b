"""Pictures of series, as SVG that is the same for the same numbers."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogFormatter, NullLocator

_LOOK = {
    "svg.hashsalt": "wdaverify",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS = ("#2a6f97", "#b5532d", "#5a7d2a")


def draw(path: Path, entry: dict[str, Any]) -> None:
    """Points joined in each group, both axes logarithmic; one that was not closed is hollow: its time is a lower bound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_LOOK):
        figure, axes = pyplot.subplots(figsize=(5.6, 3.4))
        groups = list(dict.fromkeys(point["group"] for point in entry["points"]))
        for colour, group in zip(_COLOURS, groups, strict=False):
            points = sorted((p for p in entry["points"] if p["group"] == group), key=lambda p: p["x"])
            x, y = [p["x"] for p in points], [p["y"] for p in points]
            axes.plot(x, y, color=colour, linewidth=1.2, label=group or None)
            for p in points:
                face = colour if p["state"] == "done" else "white"
                axes.plot(p["x"], p["y"], "o", color=colour, markerfacecolor=face, markersize=6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        places = sorted({point["x"] for point in entry["points"]})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.2, 0.4)))
        axes.set_xlabel(entry["x"])
        axes.set_ylabel(entry["y"])
        if any(point["state"] != "done" for point in entry["points"]):
            axes.plot([], [], "o", color=_COLOURS[0], markerfacecolor="white", label="not closed within its cap")
        if any(groups) or any(point["state"] != "done" for point in entry["points"]):
            axes.legend(frameon=False, fontsize=8)
        axes.set_title(fill(entry["title"], 72), fontsize=8.5, loc="left")
        axes.grid(True, which="major", linewidth=0.4, alpha=0.5)
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
