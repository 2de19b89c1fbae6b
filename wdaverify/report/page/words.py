"""The words and numbers of a report: bounds rounded outward, and what each word of an answer means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from wdaverify import digits
from wdaverify.problem import Loss, Norm
from wdaverify.report.page.content import Cell
from wdaverify.report.page.document import number
from wdaverify.report.summary import REASONS
from wdaverify.rounding import float_up

Json = dict[str, Any]
Tokens = tuple[tuple[str, str], ...]

TRUST: dict[str, tuple[str, str]] = {
    "proved": (
        "A separate checker replayed a proof of this bound.",
        "The proof is a file that anyone can check again with wdaverify recheck. The checker contains no solver, no learning "
        "library and nothing of the search that found the answer; it reads the network and the samples anew.",
    ),
    "checked": (
        "wdaverify recomputed this bound itself, and rounded every step to the safe side.",
        "Solvers only proposed it. What you rely on is wdaverify's own arithmetic and your computer, not a solver's tolerances.",
    ),
    "solver": (
        "This bound is what a solver reported, and nobody recomputed it.",
        "It holds as far as the solver kept within its own tolerances (Gurobi and SCIP 1e-9, HiGHS 1e-7) and has no mistake.",
    ),
    "none": (
        "Nobody vouches for this number.",
        "It is an estimate: the truth may lie on either side of it.",
    ),
}

NORMS = {norm.value: norm.meaning for norm in Norm}
LOSSES = {loss.value: loss.rule.noun for loss in Loss}
READINGS = {loss.value: loss.rule.reading for loss in Loss}

STATUS = {
    "exact": "exact",
    "to-the-gap": "to the gap, not exact",
    "bracket": "open bracket",
    "not-asked": "not asked",
    "bounds": "lower bound only",
}
"""A status in words."""
CLOSED = ("exact", "to-the-gap")
"""Those of answers that are closed to the gap asked for."""


ARITHMETIC = (
    "float32: the outputs as any runtime of IEEE single precision gives them, whatever order it adds in, fused or not, subnormal numbers "
    "flushed or not; the loss of these in real arithmetic"
)
IN_FLOAT32 = {"any-order": "yes, in any order", "orders-tried": "yes, as tried", "barely": "barely", "no": "no"}
FLOAT32_NOTE = (
    "In float32: whether the error is one in single precision too. In any order: proved, whatever order sums are evaluated in; "
    "as tried: in several orders of summation that were tried, by more than they differ; barely: by less; no: not in all of them."
)


def float32_cell(flip: str | None) -> Cell:
    """Whether an error is one in float32; a dash where the document does not say."""
    return Cell("–", None) if flip is None else Cell(IN_FLOAT32[flip], flip)


def reason(stated: str, detail: str) -> str:
    """Why the run ended, as a sentence; a reason unknown here stands as it is."""
    words = detail or REASONS.get(stated, stated)  # type: ignore[call-overload]
    text = str(words) or stated
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def meaning(loss: str) -> str:
    """The loss as a formula."""
    return Loss(loss).rule.formula


def down(value: float, places: int = 6) -> str:
    """A lower bound, rounded down at the decimals shown."""
    return _signed(digits.down(value, places))


def up(value: float, places: int = 6) -> str:
    """An upper bound, rounded up at the decimals shown."""
    return _signed(digits.up(value, places))


def brief(value: float, *, upper: bool) -> str:
    """A bound where there is little room, rounded outward at five significant digits."""
    return _signed((digits.up_to if upper else digits.down_to)(value, 5))


def gap(bracket: Json) -> str:
    """``upper - lower`` of an entry of a document, rounded up."""
    return _signed(digits.up_to(width(bracket), 2))


def width(bracket: Json) -> float:
    """The same as a double, to sort by; 0 where both are infinite."""
    lower, upper = number(bracket["lower"]), number(bracket["upper"])
    if math.isfinite(lower) and math.isfinite(upper):
        return float_up(Fraction(upper) - Fraction(lower))
    return 0.0 if lower == upper else math.inf


def widest(brackets: Sequence[Json]) -> str:
    """The largest ``upper - lower`` of a document's entries, rounded up; 0 where there are none."""
    return _signed(digits.up_to(max(map(width, brackets), default=0.0), 2))


def near(value: float, places: int = 4) -> str:
    """A number that is no bound, at so many significant digits."""
    return _signed(f"{value:.{places}g}")


def plain(value: float) -> str:
    """A number of the question, in the shortest form that reads back to itself."""
    return _signed(digits.stated(value))


def small(value: float, places: int = 2) -> str:
    """A cost or a distance, rounded up at so many significant digits unless it takes fewer."""
    return _signed(digits.at_most(value, places))


def percent(share: float) -> str:
    """A share at three significant digits, rounded down: 100 only where it is whole."""
    return f"{_signed(digits.down_to(100 * share, 3))} %"


def _signed(text: str) -> str:
    """With a minus sign and an infinity sign instead of a hyphen and a word."""
    return text.replace("inf", "∞").replace("-", "−")


def low_cell(value: float | str, places: int = 6) -> Cell:
    """A lower bound as an entry of a table."""
    return Cell(down(number(value), places), number(value))


def high_cell(value: float | str, places: int = 6) -> Cell:
    """An upper bound as an entry of a table."""
    return Cell(up(number(value), places), number(value))


def near_cell(value: float | str | None, places: int = 4) -> Cell:
    """A number that is no bound as an entry of a table; a dash where there is none."""
    return Cell("–", None) if value is None else Cell(near(number(value), places), number(value))


def whole_cell(value: int) -> Cell:
    """A whole number as an entry of a table."""
    return Cell(str(int(value)), int(value))


def norm_name(norm: str) -> str:
    """The short name of a norm."""
    return Norm(norm).short


def seconds(value: float) -> str:
    """A time, for people."""
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


def count(how_many: int, noun: str, plural: str = "s") -> str:
    """``3 samples``, ``1 sample``."""
    return f"{int(how_many)} {noun}{'' if how_many == 1 else plural}"


def widths(network: Json) -> str:
    """``64-16-16-10``, ``784-16@14x14-100-10``."""
    found = [layer for layer in network["layers"] if layer["kind"] in ("affine", "convolution")]
    given = [str(layer["outputs"]) if layer["shape"] is None else "{}@{}x{}".format(*layer["shape"]) for layer in found]
    return "-".join([str(network["inputs"]), *given])


def space(support: Json, features: int) -> str:
    """The support, in the manner of ``[0, 1]^64``."""
    rows, integer = len(support["rows"]), len(support["integer"])
    cuts = [count(rows, "linear row")] if rows else []
    cuts += [count(integer, "whole-numbered feature")] if integer else []
    lower, upper = support["lower"], support["upper"]
    if support["kind"] == "whole-space":
        text = f"all of R^{features}"
    elif isinstance(lower, list) or isinstance(upper, list):
        text = f"a box in R^{features}, with bounds by feature"
    else:
        text = f"[{plain(number(lower))}, {plain(number(upper))}]^{features}"
    return text + (f", cut by {' and '.join(cuts)}" if cuts else "")


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
