"""A model as text that other solvers read: free MPS and LP files, and a start; every number is written so that it is read back exactly.

Columns and rows are those of the model, scaled by powers of two as it is. Rows with two sides are written as two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from wdaverify.encoding.milp import Ints, MilpModel

_TERMS = 4
"""Terms on a line of an LP file: some readers take 500 characters at most."""


def names(model: MilpModel) -> list[str]:
    """What the columns are called: x (l1: p and q, l2: d) of the inputs, t and u of the distance, h, s and b of neurons, else c."""
    out = [f"c{k}" for k in range(model.n_columns)]
    first = "x" if model.step is None and model.negative_inputs is None else "d" if model.step is not None else "p"
    _name(out, model.inputs, [f"{first}{k}" for k in range(model.inputs.size)])
    if model.negative_inputs is not None:
        _name(out, model.negative_inputs, [f"q{k}" for k in range(model.negative_inputs.size)])
    for column, name in ((model.trace.distance, "t"), (model.trace.square, "u")):
        if column >= 0:
            out[column] = name
    for part in model.trace.neurons:
        for letter, columns, places in (
            ("h", part.above, part.alive),
            ("s", part.below, part.opened),
            ("b", part.phase, part.opened),
        ):
            _name(out, columns, [f"{letter}{part.node}_{k}" for k in places.tolist()])
    for node, columns in model.trace.own:
        _name(out, columns, [f"z{node}_{k}" for k in range(columns.size)])
    return out


def _name(out: list[str], columns: Ints, given: list[str]) -> None:
    for column, name in zip(columns.tolist(), given, strict=True):
        out[int(column)] = name


def mps(model: MilpModel, name: str) -> str:
    """The model as a free MPS file; quadratic rows as QCMATRIX sections (Gurobi, CPLEX, Xpress, SCIP and COPT read these)."""
    known, rows = names(model), list(_rows(model))
    entries: list[list[str]] = [[] for _ in known]
    for k in np.flatnonzero(model.objective).tolist():
        entries[k].append(f"    {known[k]} goal {_number(model.objective[k])}")
    for row, _, _, terms in rows:
        for k, value in terms:
            entries[k].append(f"    {known[k]} {row} {_number(value)}")
    squares = [f"w{r}" for r in range(len(model.quadratic))]
    for row, q in zip(squares, model.quadratic, strict=True):
        for k, value in zip(q.linear.tolist(), q.line.tolist(), strict=True):
            entries[k].append(f"    {known[k]} {row} {_number(value)}")
    lines = [f"NAME {name}", "OBJSENSE", f"    {'MAX' if model.maximise else 'MIN'}", "ROWS", " N goal"]
    lines += [f" {kind} {row}" for row, kind, _, _ in rows] + [f" L {row}" for row in squares]
    lines.append("COLUMNS")
    for flag, kind in ((False, ""), (True, "INT")):
        chosen = [k for k in range(len(known)) if bool(model.integer[k]) is flag]
        if kind and chosen:
            lines.append("    MARKER1 'MARKER' 'INTORG'")
        for k in chosen:
            lines += entries[k] or [f"    {known[k]} goal 0"]
        if kind and chosen:
            lines.append("    MARKER2 'MARKER' 'INTEND'")
    lines.append("RHS")
    if model.offset:
        lines.append(f"    rhs goal {_number(-model.offset)}")
    lines += [f"    rhs {row} {_number(side)}" for row, _, side, _ in rows if side]
    lines += [f"    rhs {row} {_number(q.side)}" for row, q in zip(squares, model.quadratic, strict=True) if q.side]
    lines.append("BOUNDS")
    for k, column in enumerate(known):
        lines += _bounds(column, float(model.lower[k]), float(model.upper[k]))
    for row, q in zip(squares, model.quadratic, strict=True):
        lines.append(f"QCMATRIX {row}")
        pairs = zip(q.index.tolist(), q.square.tolist(), strict=True)
        lines += [f"    {known[k]} {known[k]} {_number(value)}" for k, value in pairs]
    return "\n".join([*lines, "ENDATA", ""])


def lp(model: MilpModel, name: str) -> str:
    """The model as an LP file; the column ``one``, which is 1, carries the constant of the objective (readers differ on constants)."""
    known = [*names(model), "one"]
    goal = [(k, float(model.objective[k])) for k in np.flatnonzero(model.objective).tolist()]
    lines = [f"\\ {name}", "Maximize" if model.maximise else "Minimize"]
    lines += _sum("goal", [*goal, (model.n_columns, model.offset)], known, "")
    lines.append("Subject To")
    word, none = (
        {"E": "=", "L": "<=", "G": ">="},
        [(model.n_columns, 0.0)],
    )  # a bare 0 is a column's name to some readers
    for row, kind, side, terms in _rows(model):
        lines += _sum(row, terms or none, known, f" {word[kind]} {_number(side)}")
    for r, q in enumerate(model.quadratic):
        line = list(zip(q.linear.tolist(), q.line.tolist(), strict=True))
        squares = "\n   ".join(
            f"{'' if not j and value >= 0 else '+ ' if value >= 0 else '- '}{_number(abs(value))} {known[k]} ^2"
            for j, (k, value) in enumerate(zip(q.index.tolist(), q.square.tolist(), strict=True))
        )
        whole = _sum(f"w{r}", line, known, "") if line else [f" w{r}:"]
        lines += [*whole, f"  {'+ ' if line else ''}[ {squares} ]", f"  <= {_number(q.side)}"]
    lines.append("Bounds")
    for k, column in enumerate(known[:-1]):
        low, high = float(model.lower[k]), float(model.upper[k])
        left = "-inf" if low == -math.inf else _number(low)
        right = "+inf" if high == math.inf else _number(high)
        lines.append(f" {left} <= {column} <= {right}")
    lines.append(" one = 1")
    whole_numbers = [known[k] for k in np.flatnonzero(model.integer).tolist()]
    if whole_numbers:
        lines += ["General", *(f" {column}" for column in whole_numbers)]
    return "\n".join([*lines, "End", ""])


def start(model: MilpModel, values: dict[int, float]) -> str:
    """A start: a name and a value a line (Gurobi's ``.mst``, and what others call a solution file)."""
    known = names(model)
    return "\n".join(["# MIP start", *(f"{known[k]} {_number(value)}" for k, value in sorted(values.items())), ""])


def _rows(model: MilpModel) -> Iterator[tuple[str, str, float, list[tuple[int, float]]]]:
    """Name, kind (E, L, G), side and terms of every linear row."""
    for r in range(model.n_rows):
        piece = slice(model.start[r], model.start[r + 1])
        terms = list(zip(model.index[piece].tolist(), model.coefficient[piece].tolist(), strict=True))
        low, high = float(model.row_lower[r]), float(model.row_upper[r])
        if low == high:
            yield f"r{r}", "E", low, terms
            continue
        if math.isfinite(low):
            yield f"r{r}g", "G", low, terms
        if math.isfinite(high):
            yield f"r{r}l", "L", high, terms


def _bounds(column: str, low: float, high: float) -> list[str]:
    if low == high:
        return [f" FX bound {column} {_number(low)}"]
    if low == -math.inf and high == math.inf:
        return [f" FR bound {column}"]
    lower = f" MI bound {column}" if low == -math.inf else f" LO bound {column} {_number(low)}"
    upper = f" PL bound {column}" if high == math.inf else f" UP bound {column} {_number(high)}"
    return [lower, upper]


def _sum(label: str, terms: list[tuple[int, float]], known: list[str], end: str) -> list[str]:
    """``label: + a x - b y ... end``, a few terms a line."""
    words = [f"{'+' if value >= 0 else '-'} {_number(abs(value))} {known[k]}" for k, value in terms]
    lines = [" ".join(words[k : k + _TERMS]) for k in range(0, len(words), _TERMS)]
    lines[0] = f" {label}: {lines[0]}"
    lines[-1] += end
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _number(value: float) -> str:
    """The shortest decimal that is read back as this double."""
    return repr(float(value) + 0.0)
