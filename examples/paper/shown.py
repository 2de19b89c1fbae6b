"""The answers as a table (Markdown and JSON), the seed's claims beside them, and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import claims
import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

HEAD = (
    "radius",
    "clean",
    "PGD",
    "AutoAttack",
    "best WDA(m)",
    "WDA++",
    "mixture",
    "exact",
    "CROWN",
    "exact Lip.",
    "LipSDP",
    "norms",
)
WAYS = {"standard": "C0", "adversarial": "C1", "regularised": "C2"}
Row = dict[str, Any]


def best_wda(below: dict[str, float | None]) -> tuple[str, float | None]:
    """The best of the ensemble over m."""
    powers = {name: value for name, value in below.items() if name.startswith("WDA(") and value is not None}
    name = max(powers, key=lambda each: powers[each], default="")
    return name.removeprefix("WDA").strip("()"), powers.get(name)


def number(value: float | str | None) -> str:
    """Four places; a bound that is not there is a dash."""
    return "-" if value is None or isinstance(value, str) else f"{value:.4f}"


def bracket(at: Row) -> str:
    """The value, or where it is not known to the gap its bracket."""
    if at["exact"] or at["upper"] - at["lower"] < 5e-5:
        return f"**{0.5 * (at['lower'] + at['upper']):.4f}**"
    return f"[{at['lower']:.4f}, {at['upper']:.4f}]"


def cells(at: Row) -> list[str]:
    """A line of the table."""
    below, above = at["below"], at["above"]
    power, wda = best_wda(below)
    return [
        f"{at['radius']:g}",
        number(at["nominal"]),
        *(number(below.get(name)) for name in ("PGD", "AutoAttack")),
        f"{number(wda)} ({power})" if power else "-",
        *(number(below.get(name)) for name in ("WDA++", "mixture")),
        bracket(at),
        *(number(above.get(name)) for name in ("CROWN dual", "exact Lipschitz", "LipSDP", "product of layer norms")),
    ]


def title(question: Row) -> str:
    """A question in a line."""
    support = "[0, 1]^n" if question["support"] == "box" else "R^n"
    return (
        f"{question['data']}, {question['loss']}, W_{question['order']}, l-{question['norm']}, on {support}, "
        f"{question['samples']} samples"
    )


def markdown(rows: list[Row], asked: int) -> str:
    """The whole page."""
    text = [
        f"# Clean, attacked, exact, certified\n\n{len(rows)} of {asked} questions answered. In brackets: m of WDA(m); "
    ]
    text.append(
        "bold: exact to the gap; an interval: what is proven in the time there was. PGD and AutoAttack (which moves only what it "
        "breaks) are evaluated in float64, "
    )
    text.append("everything else with outward rounding. A dash: no bound (the reason stands in `table.json`).\n")
    for group in grouped(rows):
        text.append(f"\n## {title(group[0]['question'])}\n\n")
        text.append("| network | " + " | ".join(HEAD) + " |\n|" + "---|" * (len(HEAD) + 1) + "\n")
        for row in group:
            name = f"{row['question']['kind']}, {row['question']['way']}"
            for at in row["radii"]:
                text.append(f"| {name} | " + " | ".join(cells(at)) + " |\n")
    text.append("\n## Test accuracy\n\n| network | accuracy |\n|---|---|\n")
    accuracy = {"{data} {kind}, {way}".format(**row["question"]): row["accuracy"] for row in rows}
    text += [f"| {name} | {value:.4f} |\n" for name, value in accuracy.items()]
    return "".join(text) + claims.text(rows)


def grouped(rows: Iterable[Row]) -> list[list[Row]]:
    """Answers to the same question about several networks."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(title(row["question"]), []).append(row)
    return list(groups.values())


def picture(rows: list[Row], path: Path) -> None:
    """A panel a question: exact (or the bracket), the mixture, WDA and PGD, and CROWN, over the radius."""
    groups = grouped(rows)
    wide = min(3, len(groups))
    high = -(-len(groups) // wide)
    figure, axes = plt.subplots(high, wide, figsize=(4.6 * wide, 3.6 * high), squeeze=False, layout="constrained")
    for panel, group in zip(axes.flat, groups, strict=False):
        for row in group:
            _line(panel, row)
        panel.set_title(title(group[0]["question"]), fontsize=7)
        panel.set_xlabel("radius")
        panel.legend(fontsize=5)
    for panel in axes.flat[len(groups) :]:
        panel.axis("off")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _line(panel: Any, row: Row) -> None:
    question, radii = row["question"], row["radii"]
    colour, mark = WAYS[question["way"]], "-" if question["kind"] == "mlp" else "--"
    x = [0.0, *(at["radius"] for at in radii)]
    clean = radii[0]["nominal"]
    lower, upper = ([clean, *(at[end] for at in radii)] for end in ("lower", "upper"))
    panel.plot(x, lower, mark, color=colour, lw=1.4, label=f"{question['kind']}, {question['way']}: exact")
    panel.fill_between(x, lower, upper, color=colour, alpha=0.2)
    for name, style in (("WDA", ":"), ("PGD", "-.")):
        values = [best_wda(at["below"])[1] if name == "WDA" else at["below"].get(name) for at in radii]
        if all(value is not None for value in values):
            panel.plot(x, [clean, *values], style, color=colour, lw=0.8)
    crown = [at["above"].get("CROWN dual") for at in radii]
    if all(isinstance(value, float) for value in crown):
        panel.plot(x[1:], crown, "v", color=colour, ms=3)


def write(rows: list[Row], asked: int, folder: Path) -> None:
    """Write ``table.md``, ``table.json`` and ``table.png``."""
    if not rows:
        return
    (folder / "table.md").write_text(markdown(rows, asked))
    (folder / "table.json").write_text(json.dumps({"asked": asked, "rows": rows}, indent=1) + "\n")
    picture(rows, folder / "table.png")
