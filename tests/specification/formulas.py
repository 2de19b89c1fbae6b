"""Random formulas as VNN-LIB text, each with what it says of a point, worked out here by recursion on how it was made."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np

from wdaverify.specification.model import Specification

Rng = np.random.Generator
Point = tuple[list[float], list[float]]
Term = tuple[str, Callable[[Point], Fraction]]
Formula = tuple[str, Callable[[Point], bool]]

OPERATORS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "=": lambda a, b: a == b,
}


def number(rng: Rng) -> Term:
    value = int(rng.integers(-8, 9)) / 4
    text = str(rng.choice([f"{value}", f"{value:e}", f"{value:.4f}", f"(- {-value})"]))
    return text, lambda _: Fraction(value)


def variable(rng: Rng, inputs: int, outputs: int) -> Term:
    if rng.random() < 0.5:
        i = int(rng.integers(inputs))
        return f"X_{i}", lambda p: Fraction(p[0][i])
    j = int(rng.integers(outputs))
    return f"Y_{j}", lambda p: Fraction(p[1][j])


def term(rng: Rng, sizes: tuple[int, int], depth: int) -> Term:
    kind = int(rng.integers(6)) if depth else int(rng.integers(2))
    if kind == 0:
        return number(rng)
    if kind in (1, 2):
        return variable(rng, *sizes)
    parts = [term(rng, sizes, depth - 1) for _ in range(int(rng.integers(1, 4)))]
    texts, values = [text for text, _ in parts], [value for _, value in parts]
    if kind == 3:
        return f"(+ {' '.join(texts)})", lambda p: sum((v(p) for v in values), Fraction(0))
    if kind == 4:
        first, rest = values[0], values[1:]
        if not rest:
            return f"(- {texts[0]})", lambda p: -first(p)
        return f"(- {' '.join(texts)})", lambda p: first(p) - sum((v(p) for v in rest), Fraction(0))
    factor = number(rng)
    order = [factor[0], texts[0]] if rng.random() < 0.5 else [texts[0], factor[0]]
    return f"(* {' '.join(order)})", lambda p: factor[1](p) * values[0](p)


def formula(rng: Rng, sizes: tuple[int, int], depth: int) -> Formula:
    if depth and rng.random() < 0.7:
        parts = [formula(rng, sizes, depth - 1) for _ in range(int(rng.integers(1, 4)))]
        texts, values = " ".join(text for text, _ in parts), [value for _, value in parts]
        if rng.random() < 0.5:
            return f"(and {texts})", lambda p: all(v(p) for v in values)
        return f"(or {texts})", lambda p: any(v(p) for v in values)
    operator = str(rng.choice(list(OPERATORS)))
    sides = [term(rng, sizes, 2) for _ in range(int(rng.choice([2, 2, 2, 3])))]
    holds = OPERATORS[operator]

    def value(p: Point) -> bool:
        found = [side[1](p) for side in sides]
        return all(holds(a, b) for a, b in pairwise(found))

    return f"({operator} {' '.join(text for text, _ in sides)})", value


def normal_form_holds(spec: Specification, point: Point) -> bool:
    """Whether a point satisfies some disjunct; of boxes whose sides are doubles."""
    x, z = point
    return any(
        bool((np.array(x) >= d.box.lower).all() and (np.array(x) <= d.box.upper).all())
        and all(row.holds(x, z) for row in d.rows)
        for d in spec.disjuncts
    )


def declared(inputs: int, outputs: int) -> str:
    names = [*(f"X_{i}" for i in range(inputs)), *(f"Y_{j}" for j in range(outputs))]
    return "".join(f"(declare-const {name} Real)\n" for name in names)


def boxed(inputs: int, low: float, high: float) -> str:
    return "".join(f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))\n" for i in range(inputs))
