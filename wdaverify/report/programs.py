"""A folder of programs: per question an MPS and an LP file and a start, ``programs.json`` and a README that says what it all means."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from wdaverify.encoding.program_files import lp, mps, names, start
from wdaverify.errors import OutputError
from wdaverify.wdro.programs import Program, Programs
from wdaverify.wdro.result import asked_text
from wdaverify.writing import write_text

_EMPTY = "name a folder that does not exist yet, or an empty one"


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds something, or cannot be made, before any work; nothing is made.

    Raises:
        OutputError: says which.
    """
    path = Path(folder)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} is there already and not an empty folder; {_EMPTY}")
        above = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise OutputError(f"cannot make {path}: {above} is no folder that can be written to; {_EMPTY}")
    except OSError as error:
        raise _unmade(path, error) from error


def _unmade(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot make {path}: {(error.strerror or str(error)).lower()}; {_EMPTY}")


def write_programs(made: Programs, folder: str | os.PathLike[str]) -> None:
    """Write everything into an empty folder.

    Raises:
        OutputError: the folder is not empty, or a file cannot be written.
    """
    check_folder(folder)
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unmade(path, error) from error
    for program in made.programs:
        write_text(path / f"{program.name}.mps", mps(program.model, program.name))
        write_text(path / f"{program.name}.lp", lp(program.model, program.name))
        if program.start:
            write_text(path / f"{program.name}.mst", start(program.model, program.start))
    write_text(path / "programs.json", json.dumps(programs_json(made), indent=1, allow_nan=False) + "\n")
    write_text(path / "README.md", _readme(made))


def programs_json(made: Programs) -> dict[str, Any]:
    """What is known of each program, by the name of its files; an infinite bound is null."""
    problem = made.problem
    return {
        "kind": "programs",
        "question": asked_text(problem),
        "loss": problem.loss.value,
        "order": str(problem.cost.order),
        "norm": problem.cost.norm.value,
        "radius": problem.radius,
        "multiplier": made.multiplier,
        "floor": _finite(made.floor),
        "weights": problem.samples.w.tolist(),
        "programs": {program.name: _program_json(program) for program in made.programs},
    }


def _program_json(program: Program) -> dict[str, Any]:
    model, known = program.model, names(program.model)
    scale, step = model.scale, model.step
    columns = [
        [[known[c], float(scale[c] * (1.0 if step is None else step[k]))]] for k, c in enumerate(model.inputs.tolist())
    ]
    if model.negative_inputs is not None:
        for terms, c in zip(columns, model.negative_inputs.tolist(), strict=True):
            terms.append([known[c], -float(scale[c])])
    absolute = step is None and model.negative_inputs is None
    return {
        "sample": program.sample,
        "label": program.label,
        "piece": program.code,
        "sense": "max" if model.maximise else "min",
        "slack": model.slack,
        "lower": _finite(program.lower),
        "upper": _finite(program.upper),
        "offset": program.offset,
        "charge": program.charge,
        "columns": model.n_columns,
        "rows": model.n_rows + len(model.quadratic),
        "integers": int(model.integer.sum()),
        "input": {"origin": [0.0] * len(columns) if absolute else model.centre.tolist(), "terms": columns},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_PIECES = """Each program is `max c . z(x) - lam ||x - x_i||^p` over the support, for one sample i and one piece c of its
loss (a rival's margin, or a functional), at the multiplier lam = {multiplier!r}. With the optimum `opt` of each,

    V(radius) <= lam radius^p + sum_i w_i max(floor, max over pieces of  opt + slack + offset - lam charge)

and with the best multiplier that is an equation; others give upper bounds too (`--multiplier`). The numbers `offset`, `charge` and
`slack` of each program, `floor` and the weights w are in `programs.json`. The value at the start and a bound of our own enclose
the optimum: `lower <= opt + slack`, `opt - slack <= upper`.
"""
_INSIDE = """Each program is `max c . z(x)` over the points of the support within the radius of sample i, for one piece c of
its loss (a rival's margin, or a functional). With the optimum `opt` of each,

    V(radius) = sum_i w_i max(floor, max over pieces of  opt + offset),     each opt up to its slack

The numbers `offset` and `slack` of each program, `floor` and the weights w are in `programs.json`. The value at the start and a
bound of our own enclose the optimum: `lower <= opt + slack`, `opt - slack <= upper`.
"""
_DISTANCES = """Each program is `min ||x - x_i||  s.t.  z_rival(x) >= z_label(x)` over the support{inside}, for one sample i and
one rival. An infeasible one says that the rival cannot tie or win there. A sample's distance `d_i` is the least optimum of its
rivals{label}, and

    V(radius) = the mass that errors can be bought for, the nearest samples first, each for w_i d_i^p,
                until radius^p is spent (the last one in part)

at order inf the mass of the samples with `d_i <= radius`. `lower` (a bound of our own, null: no error is there) and `upper` (the
start's distance, null: no error is known) enclose the optimum; rounding moves the boundary towards smaller distances alone.
"""


def _readme(made: Programs) -> str:
    problem = made.problem
    finite = math.isfinite(problem.cost.order)
    if problem.loss.rule.by_distances:
        label = " (or the label cost, where that is less)" if problem.cost.moves_labels else ""
        what = _DISTANCES.format(inside="" if finite else " and within the radius", label=label)
    elif finite:
        what = _PIECES.format(multiplier=made.multiplier)
    else:
        what = _INSIDE
    read = (
        "Gurobi, CPLEX, Xpress, COPT and SCIP read them; HiGHS does not: l2 and order 2 are quadratic (QCMATRIX)."
        if made.quadratic
        else "HiGHS, Gurobi, CPLEX, Xpress, COPT and SCIP read them."
    )
    return f"""# {len(made.programs)} mixed-integer programs of one question

    {asked_text(problem)}
    network {problem.network.name}, {len(problem.samples)} samples from {problem.samples.source}

{what}
`NAME.mps` and `NAME.lp` are the same program, every number written so that it is read back exactly.
{read}
`NAME.mst` is a start, the best point that attacks found, as a name and a value a line. Columns x (or p and q, or d) are the
input, t the distance, u its square, h and s the two sides of a neuron's argument and b its phase, `one` (in LP files) the number
1; `programs.json` says how each input is made of columns: `origin + sum of factor * column`. Columns and rows are scaled by
powers of two.

A solver's optimum is its own word, within its tolerances: ask for 1e-9, and for an absolute gap.
"""
