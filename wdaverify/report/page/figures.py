"""The plots: the ladder of bounds around the bracket, bands over the radius, moved mass, and brackets side by side.

Each takes its numbers and a palette, and returns a matplotlib figure; matplotlib is imported when one is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wdaverify.network.model import Array
from wdaverify.report.page.ink import WIDTH, Palette, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICK_ROOM = 0.42
"""Inches from one mark of the ladder's axis to the next at the least."""
_DECADES = 2.5


@dataclass(frozen=True)
class Rung:
    """One rung: a bound or an estimate ``above`` or ``below`` the bracket; without a finite value it is only listed."""

    name: str
    side: str
    value: float | None
    text: str
    estimate: bool = False


@dataclass(frozen=True)
class Band:
    """Two curves over the radius, between which something lies; ``steps``: from a radius up to the next."""

    radius: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]
    power: float = 1.0
    steps: bool = False


class _Axis:
    """Where a value stands on the ladder: the bracket in the middle, logarithms of the distance to it on both sides."""

    def __init__(self, lower: float, upper: float, values: Sequence[float]) -> None:
        self.low = lower if math.isfinite(lower) else upper
        self.high = upper if math.isfinite(upper) else lower
        away = [d for d in (max(self.low - v, v - self.high) for v in values) if d > 0]
        largest = max(away, default=1.0)
        self.unit = max(min(away, default=1.0), largest * 10**-_DECADES) / 2
        span = self.of_distance(largest) if away else 1.0
        self.half = (0.25 if self.high - self.low > 1e-3 * largest else 0.015) * span

    def at(self, value: float) -> float:
        if value < self.low:
            return -self.half - self.of_distance(self.low - value)
        if value > self.high:
            return self.half + self.of_distance(value - self.high)
        width = self.high - self.low
        return 2 * self.half * ((value - self.low) / width - 0.5) if width > 0 else 0.0

    def of_distance(self, distance: float) -> float:
        return math.log10(1 + distance / self.unit)

    def ticks(self, reach: float, room: float) -> list[tuple[float, str]]:
        """Powers of ten between the bracket and ``reach`` on one side, at least ``room`` from each other and from the bracket."""
        out: list[tuple[float, str]] = []
        first, last = math.floor(math.log10(self.unit)), math.floor(math.log10(self.unit) + max(reach, 0.0))
        for k in range(last, first - 1, -1):
            at = self.half + self.of_distance(10.0**k)
            if room <= at <= reach and (not out or out[-1][0] - at >= room):
                out.append((at, f"{10.0**k:g}"))
        return out


def ladder(rungs: Sequence[Rung], lower: float, upper: float, middle: tuple[str, str], palette: Palette) -> Figure:
    """Certificates above the bracket, attacks below it, by value; a logarithmic scale of the distance to both sides.

    ``middle`` is the name of the bracket and its text.
    """
    placed = [rung for rung in rungs if rung.value is not None and math.isfinite(rung.value)]
    axis = _Axis(lower, upper, [rung.value for rung in placed if rung.value is not None])
    order = [*_sorted(rungs, "above"), Rung(middle[0], "middle", None, middle[1]), *_sorted(rungs, "below")]
    height = 0.62 + 0.205 * len(order)
    names = [printable(rung.name) for rung in order]
    left = max(map(_inches, names)) + 0.1
    right = max(_inches(rung.text) for rung in order) + 0.1
    figure, axes = _axes(height, left, right, bottom=0.46, top=0.08, palette=palette)
    reach = [axis.at(rung.value) for rung in placed if rung.value is not None]
    least, most = min([-axis.half, *reach]), max([axis.half, *reach])
    margin = 0.06 * (most - least)
    axes.set_xlim(least - margin, most + margin)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.axvspan(-axis.half, axis.half, color=palette.exact, alpha=0.16, lw=0)
    for row, (rung, name) in enumerate(zip(order, names, strict=True)):
        _rung(axes, row, rung, name, axis, palette)
    room = _TICK_ROOM * (most - least + 2 * margin) / (WIDTH - left - right)
    ticks = [(-x, f"−{label}") for x, label in axis.ticks(-least, room)] + [(0.0, "0")]
    ticks += [(x, f"+{label}") for x, label in axis.ticks(most, room)]
    axes.set_xticks([x for x, _ in ticks], [label for _, label in ticks], fontsize=7.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("distance to the bracket (log scale)", color=palette.muted, fontsize=8)
    return figure


def _inches(text: str) -> float:
    """How wide a label is, set in bold."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    size, _, _ = text_to_path.get_text_width_height_descent(
        printable(text), FontProperties(size=8, weight="bold"), False
    )
    return float(size) / 72


def _sorted(rungs: Sequence[Rung], side: str) -> list[Rung]:
    """By value, largest first; those without a value farthest from the bracket."""
    of_side = [rung for rung in rungs if rung.side == side]
    known = sorted((r for r in of_side if r.value is not None), key=lambda r: -(r.value or 0.0))
    unknown = [rung for rung in of_side if rung.value is None]
    return [*unknown, *known] if side == "above" else [*known, *unknown]


def _rung(axes: Any, row: int, rung: Rung, name: str, axis: _Axis, palette: Palette) -> None:
    colour = {"above": palette.certificate, "below": palette.attack}.get(rung.side, palette.exact)
    colour = palette.muted if rung.estimate else colour
    absent = rung.side != "middle" and (rung.value is None or not math.isfinite(rung.value))
    shade = palette.muted if absent else palette.ink
    weight = "bold" if rung.side == "middle" else "normal"
    beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8, "color": shade}
    axes.text(-0.02, row, name, ha="right", fontweight=weight, **beside)
    axes.text(1.02, row, printable(rung.text), ha="left", fontweight=weight, **beside)
    if rung.side == "middle":
        axes.plot([-axis.half, axis.half], [row, row], color=palette.exact, lw=5, solid_capstyle="butt")
    elif not absent and rung.value is not None:
        at = axis.at(rung.value)
        edge = math.copysign(axis.half, at) if abs(at) > axis.half else at
        axes.plot([edge, at], [row, row], color=colour, lw=1.4)
        face = palette.paper if rung.estimate else colour
        axes.plot([at], [row], "o", ms=5, mfc=face, mec=colour, mew=1.3)


def bands(
    exact: Sequence[Band],
    brackets: Sequence[tuple[float, float, float]],
    attacks: Band | None,
    certificates: Band | None,
    palette: Palette,
) -> Figure:
    """V over the radius: the curve or brackets, the attacks' band below, the certificates' band above."""
    figure, axes = _axes(3.0, 0.62, 0.1, bottom=0.42, top=0.52, palette=palette)
    reach = max([r for band in exact for r in band.radius] + [r for r, _, _ in brackets], default=1.0)
    handles: list[tuple[Any, str]] = []
    for band, colour, name in (
        (certificates, palette.certificate, "certificates"),
        (attacks, palette.attack, "attacks"),
    ):
        if band is not None:
            handles.append((_band(axes, band, colour, 0.3, reach), name))
    for band in exact:
        handles.append((_band(axes, band, palette.exact, 0.9, reach), "bracket"))
    for radius, lower, upper in brackets:
        low, high = (v if math.isfinite(v) else math.nan for v in (lower, upper))
        axes.plot([radius, radius], [low, high], color=palette.exact, lw=2.5, solid_capstyle="butt")
        axes.plot([radius, radius], [low, high], "o", ms=3.5, color=palette.exact, lw=0)
    if brackets and not exact:
        handles.append((axes.plot([], [], "o-", ms=3.5, lw=2.5, color=palette.exact)[0], "bracket"))
    _limit(axes, exact, brackets, attacks, certificates)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("radius", color=palette.muted, fontsize=8)
    axes.set_ylabel("V(radius)", color=palette.muted, fontsize=8)
    axes.grid(axis="y", color=palette.rule, lw=0.5)
    kept = {name: handle for handle, name in handles}
    figure.legend(
        kept.values(), kept.keys(), loc="upper left", ncols=3, frameon=False, fontsize=8, labelcolor=palette.ink
    )
    return figure


def _band(axes: Any, band: Band, colour: str, alpha: float, reach: float) -> Any:
    radius, lower, upper = _dense(band)
    if len(band.radius) == 1:
        spread = 0.012 * (reach or 1.0)
        radius, lower, upper = (
            np.array([radius[0] - spread, radius[0] + spread]),
            *(np.repeat(v, 2) for v in (lower, upper)),
        )
    axes.plot(radius, lower, color=colour, lw=1.1, drawstyle="steps-post" if band.steps else "default")
    axes.plot(radius, upper, color=colour, lw=1.1, drawstyle="steps-post" if band.steps else "default")
    return axes.fill_between(radius, lower, upper, color=colour, alpha=alpha, lw=0, step="post" if band.steps else None)


def _dense(band: Band) -> tuple[Array, Array, Array]:
    """The curves between breakpoints too: straight in ``radius^power``, and gaps where they are infinite."""
    radius = np.array(band.radius, dtype=np.float64)
    lower, upper = (np.where(np.isfinite(v), v, np.nan) for v in (np.array(band.lower), np.array(band.upper)))
    if band.power == 1 or band.steps or radius.size < 2:
        return radius, lower, upper
    fine = np.unique(np.concatenate([radius, np.linspace(radius[0], radius[-1], 200)]))
    at, power = radius**band.power, fine**band.power
    return fine, np.interp(power, at, lower), np.interp(power, at, upper)


def _limit(
    axes: Any,
    exact: Sequence[Band],
    brackets: Sequence[tuple[float, float, float]],
    attacks: Band | None,
    certificates: Band | None,
) -> None:
    """Show the bracket and the attacks whole; of the certificates as much as three times that height holds."""
    inner = [v for band in exact for v in (*band.lower, *band.upper)]
    inner += [v for _, lower, upper in brackets for v in (lower, upper)]
    inner += [] if attacks is None else [*attacks.lower, *attacks.upper]
    inner = [v for v in inner if math.isfinite(v)]
    outer = [] if certificates is None else [v for v in certificates.upper if math.isfinite(v)]
    if not inner:
        return
    low, high = min(inner), max(inner)
    height = (high - low) or 1.0
    top = min(max([high, *outer]), low + 3 * height)
    axes.set_ylim(low - 0.06 * (top - low or 1.0), top + 0.06 * (top - low or 1.0))


def mass(bars: Sequence[tuple[int, float, float, bool]], palette: Palette) -> Figure:
    """Bars of moved mass by sample (sample, moved, weight, flips); filled where a prediction or label flips."""
    figure, axes = _axes(2.2, 0.62, 0.1, bottom=0.55, top=0.1, palette=palette)
    for place, (_, moved, weight, flips) in enumerate(bars):
        axes.plot([place - 0.42, place + 0.42], [weight, weight], color=palette.muted, lw=0.8)
        face = palette.attack if flips else palette.paper
        axes.bar(place, moved, width=0.7, facecolor=face, edgecolor=palette.attack, lw=1.0)
    size = 7.5 if len(bars) <= 20 else 6.5
    axes.set_xticks(range(len(bars)), [str(bar[0]) for bar in bars], rotation=90, fontsize=size)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.8, max(len(bars), 12) - 0.2)
    axes.set_xlabel("sample", color=palette.muted, fontsize=8)
    axes.set_ylabel("moved mass", color=palette.muted, fontsize=8)
    return figure


def side_by_side(brackets: Sequence[tuple[float, float]], across: str, along: str, palette: Palette) -> Figure:
    """Finite brackets, smallest first, as dots with their width."""
    figure, axes = _axes(2.4, 0.62, 0.1, bottom=0.42, top=0.1, palette=palette)
    shown = sorted(b for b in brackets if math.isfinite(b[0]) and math.isfinite(b[1]))
    rank = np.arange(1, len(shown) + 1)
    axes.vlines(rank, [b[0] for b in shown], [b[1] for b in shown], color=palette.exact, lw=1.5)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.plot(rank, [b[1] for b in shown], "o", ms=3, color=palette.exact)
    axes.set_ylim(bottom=min(0.0, *(b[0] for b in shown)) if shown else 0.0)
    axes.grid(axis="y", color=palette.rule, lw=0.5)
    axes.set_xlabel(across, color=palette.muted, fontsize=8)
    axes.set_ylabel(along, color=palette.muted, fontsize=8)
    return figure


def _axes(
    height: float, left: float, right: float, *, bottom: float, top: float, palette: Palette
) -> tuple[Figure, Any]:
    """A figure with one pair of axes; margins in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    inner = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    axes = figure.add_axes(inner)
    axes.patch.set_alpha(0.0)
    axes.tick_params(colors=palette.muted, labelcolor=palette.ink, labelsize=8, width=0.7)
    for spine in axes.spines.values():
        spine.set_color(palette.muted)
    return figure, axes
