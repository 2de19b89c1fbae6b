"""The claims of arXiv 2510.10000, each beside the numbers of the run."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

Row = dict[str, Any]
BENT = 0.99
"""A slope below this share of the first one counts as bent."""


def text(rows: list[Row]) -> str:
    """The section of the page; a claim that no answer bears on is left out."""
    parts = [_linear(rows), _sandwich(rows), _flexible(rows), _gaps(rows)]
    return "\n## The paper's claims, one by one\n" + "".join(part for part in parts if part)


def _name(row: Row) -> str:
    question = row["question"]
    ball = f"W_{question['order']} l-{question['norm']}, {'box' if question['support'] == 'box' else 'R^n'}"
    return f"{question['data']} {question['kind']} {question['way']}, {ball}"


def _table(head: tuple[str, ...], lines: list[list[str]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _pieces(row: Row) -> list[tuple[float, float]]:
    """The growth a unit of radius between neighbouring radii, as least and greatest that the brackets allow."""
    ends = [(0.0, row["radii"][0]["nominal"], row["radii"][0]["nominal"])]
    ends += [(at["radius"], at["lower"], at["upper"]) for at in row["radii"]]
    pairs = pairwise(ends)
    return [((b[1] - a[2]) / (b[0] - a[0]), (b[2] - a[1]) / (b[0] - a[0])) for a, b in pairs]


def _linear(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        question = row["question"]
        if question["order"] != 1 or question["loss"] != "margin":
            continue
        pieces = _pieces(row)
        bends = [at["radius"] for at, (_, most) in zip(row["radii"], pieces, strict=True) if most < BENT * pieces[0][0]]
        said = f"bent before {bends[0]:g}" if bends else "not shown to bend"
        lines.append([_name(row), *(_slope(*piece) for piece in pieces), said])
    if not lines:
        return ""
    wide = max(len(line) for line in lines)
    lines = [[*line[:-1], *["-"] * (wide - len(line)), line[-1]] for line in lines]
    head = ("network", *(f"piece {k}" for k in range(1, wide - 1)), "so")
    return (
        "\n**1. The worst case grows linearly in the radius.** The growth of the exact margin loss a unit of radius, from one radius "
        f"of the table to the next; bent: below {BENT:.0%} of the first piece, proven by the brackets. On all of R^n it holds where "
        "s = S (claim 2); on a box, V is concave and bends as soon as the cheapest moves are spent.\n\n"
        + _table(head, lines)
    )


def _slope(least: float, most: float) -> str:
    if most - least <= 1e-3 * max(abs(most), 1e-9):
        return f"{0.5 * (least + most):.4g}"
    return f"[{least:.4g}, {most:.4g}]"


def _sandwich(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        if row["question"]["support"] != "none":
            continue
        for at in row["radii"]:
            s, S = at["below"].get("asymptotic"), at["above"].get("exact Lipschitz")
            told = row["constants"].get("asymptotic", "") + row["constants"].get("exact Lipschitz", "")
            found = re.findall(r"(?:infinity|constant) ([\d.]+)", told)
            holds = "yes" if s is not None and S is not None and s <= at["upper"] and at["lower"] <= S else "no"
            lines.append(
                [
                    _name(row),
                    f"{at['radius']:g}",
                    ", ".join(found),
                    *map(_value, (s, at["lower"], at["upper"], S)),
                    holds,
                ]
            )
    if not lines:
        return ""
    head = ("network", "radius", "s, S", "E + s r", "lower", "upper", "E + S r", "holds")
    return (
        "\n**2. The sandwich E + s r <= V(r) <= E + S r on R^n** (s the slope at infinity, S the largest slope).\n\n"
        + _table(head, lines)
    )


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _flexible(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        question = row["question"]
        if question["support"] != "box":
            continue
        for at in row["radii"]:
            below, nominal, moved = at["below"], at["nominal"], at["moved"]
            rise = at["lower"] - nominal
            wda = max((v for n, v in below.items() if n.startswith("WDA(") and v is not None), default=None)
            point = below.get("PGD")
            share = [f"{(v - nominal) / rise:.0%}" if v is not None and rise > 0 else "-" for v in (point, wda)]
            where = f"{moved['farthest'] / at['radius']:.1f} r"
            count = f"{moved['samples']} of {question['samples']}"
            lines.append(
                [f"{_name(row)}, {question['loss']}", f"{at['radius']:g}", *share, count, f"{moved['mass']:.3f}", where]
            )
    if not lines:
        return ""
    head = ("network, loss", "radius r", "PGD", "best WDA(m)", "samples moved", "mass moved", "farthest")
    return (
        "\n**3. Attacks that may choose how many points to move, and how far, are stronger.** The share of the rise from clean to the best "
        "distribution that point-wise PGD (all points, r each) and WDA(m) (m^-p of each mass, m r far) reach, and what that distribution "
        "does.\n\n" + _table(head, lines)
    )


def _gaps(rows: list[Row]) -> str:
    lines = []
    for name in ("CROWN dual", "exact Lipschitz", "LipSDP", "product of layer norms"):
        loose = [
            (at["above"][name] - at["nominal"]) / (at["upper"] - at["nominal"])
            for row in rows
            for at in row["radii"]
            if at["exact"] and at["upper"] - at["nominal"] > 1e-6 and isinstance(at["above"].get(name), float)
        ]
        if loose:
            loose.sort()
            lines.append([name, str(len(loose)), *(f"{loose[k]:.2f}" for k in (0, len(loose) // 2, -1))])
    if not lines:
        return ""
    return (
        "\n**4. How tight the certificates are**, where the exact value is known: (certificate - clean) / (exact - clean), 1 is exact.\n\n"
        + _table(("certificate", "radii", "least", "median", "greatest"), lines)
    )
