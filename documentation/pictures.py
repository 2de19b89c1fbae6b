"""The pictures of the pages: each is drawn of what wdaverify answers, or of the formulas that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import wdaverify as wd
from wdaverify.losses.registry import Loss

INK, SOFT, WARM, COOL = "#1b1d1f", "#9aa1a8", "#b04a16", "#1f5f9e"
STYLE = {
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "wdaverify",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(folder: Path) -> Iterator[Path]:
    """Every picture as an SVG."""
    with mpl.rc_context(STYLE):
        for name, make in (("orders", orders), ("norms", norms), ("losses", losses), ("ladder", ladder)):
            path = folder / f"{name}.svg"
            make().savefig(path, bbox_inches="tight", metadata={"Date": None})
            yield path


def orders() -> Figure:
    """Where the worst case moves the samples of two classes in the plane, at order inf and at order 1."""
    from sklearn.linear_model import LogisticRegression

    drawn = np.random.default_rng(3)
    x = np.vstack([drawn.normal([0.36, 0.42], 0.11, (9, 2)), drawn.normal([0.66, 0.6], 0.11, (9, 2))]).clip(0.02, 0.98)
    y = np.repeat([0, 1], 9)
    model = LogisticRegression(C=100).fit(x, y)
    figure = Figure(figsize=(7.2, 3.4))
    for axes, order, said in zip(figure.subplots(1, 2, sharey=True), ("inf", 1), ("each", "on average"), strict=True):
        result = wd.worst_case(
            model, x, y, radius=0.08, order=order, loss="zero-one", norm=2, support=(0, 1), jobs=None
        )
        wrong = f"{result.lower:.2f} wrong"
        axes.set_title(f"order {order}: 0.08 {said}, {wrong}", loc="left", fontsize=9)
        w, b = model.coef_[0], model.intercept_[0]
        edge = np.array([0.0, 1.0])
        axes.plot(edge, -(w[0] * edge + b) / w[1], color=SOFT, linewidth=1)
        if order == "inf":
            for point in x:
                axes.add_patch(Circle(tuple(point), 0.08, facecolor="none", edgecolor=SOFT, linewidth=0.6))
        for label, mark in ((0, "o"), (1, "s")):
            axes.plot(*x[y == label].T, mark, color=INK, markersize=4, fillstyle="none")
        for atom in result.atoms:
            start = x[atom.sample]
            if np.abs(np.asarray(atom.point) - start).max() > 1e-6:
                width = 0.5 + 2.5 * atom.weight * len(x)
                axes.annotate(
                    "", atom.point, start, arrowprops={"arrowstyle": "->", "color": WARM, "linewidth": min(width, 1.6)}
                )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return figure


def norms() -> Figure:
    """The unit balls."""
    figure = Figure(figsize=(7.2, 2.2))
    turn = np.linspace(0, 2 * np.pi, 401)
    round_ = np.stack([np.cos(turn), np.sin(turn)])
    for axes, norm in zip(figure.subplots(1, 3), ("inf", 2, 1), strict=True):
        order = np.inf if norm == "inf" else norm
        axes.fill(*(round_ / np.linalg.norm(round_, order, axis=0)), facecolor="#e8eef5", edgecolor=COOL)
        axes.plot(0, 0, "o", color=INK, markersize=3)
        axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"norm {norm}", fontsize=9)
        for side in axes.spines.values():
            side.set_visible(False)
    return figure


def losses() -> Figure:
    """The losses of two classes over the margin, as the tool computes them."""
    margin = np.linspace(-2.5, 2.5, 501)
    logits, label = np.stack([np.zeros_like(margin), margin], axis=1), np.zeros(len(margin), np.int64)
    figure = Figure(figsize=(7.2, 2.9))
    axes = figure.subplots()
    for name, colour, line in (
        ("margin", INK, "-"),
        ("zero-one", WARM, "-"),
        ("hinge", COOL, "-"),
        ("cw", COOL, "--"),
        ("cross-entropy", SOFT, "-"),
    ):
        values = Loss(name).rule.single(logits, label)
        axes.plot(margin, values, line, color=colour, linewidth=1.5)
        at = {"margin": -1.75, "zero-one": 1.7, "hinge": 1.35, "cw": 2.2, "cross-entropy": -1.2}[name]
        below = name in ("zero-one", "cw", "margin")
        axes.annotate(
            name,
            (at, float(np.interp(at, margin, values))),
            (6 if below else -8, -11 if below else 7),
            textcoords="offset points",
            color=colour if colour != SOFT else "#656b72",
            ha="left" if below else "right",
        )
    axes.set(xlabel="margin: lead of the strongest wrong class (below zero: right)", ylabel="loss", ylim=(-2.6, 3.6))
    axes.axvline(0, color=SOFT, linewidth=0.8)
    return figure


def ladder() -> Figure:
    """The main figure of an answer."""
    data = np.load(Path(__file__).parents[1] / "models" / "iris_8x8.npz")
    network = Path(__file__).parents[1] / "models" / "iris_8x8.onnx"
    result = wd.worst_case(network, data["x"], data["y"], radius=0.05, support=(0, 1), jobs=None)
    figure: Figure = result.plot()
    return figure
