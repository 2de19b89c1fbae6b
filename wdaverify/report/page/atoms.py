"""Where the worst case puts its mass: by sample, and the atoms that moved most beside their originals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from wdaverify.report.page import figures, pictures, words
from wdaverify.report.page.content import Block, Cell, Column, Figure, Notes, Picture, Pictures, Table
from wdaverify.report.page.document import number
from wdaverify.report.page.words import Json, near, small, up

SHOWN = 24
_FEATURES = 30
_FLIPS = {False: "a prediction or a label flips", True: "the specification is violated where it was not"}
_BARS = 30


@dataclass(frozen=True)
class Moved:
    """What the worst case does to one sample: mass moved, ``distance`` on average and at most, share of the budget, in words."""

    original: Json
    mass: float
    mean: float
    farthest: float
    share: float
    flips: str
    float32: str | None


def moved_mass(data: Json) -> list[Moved]:
    """For every sample that has an atom, by mass moved, largest first."""
    atoms: dict[int, list[Json]] = defaultdict(list)
    for atom in data["atoms"]:
        atoms[atom["sample"]].append(atom)
    power = number(data["order"])
    budget = number(data["radius"]) ** power if math.isfinite(power) else 0.0
    out = []
    for original in data["originals"]:
        gone = [atom for atom in atoms[original["sample"]] if _has_moved(atom, original)]
        mass = math.fsum(atom["weight"] for atom in gone)
        spent = math.fsum(atom["weight"] * _price(atom, original, data) ** power for atom in gone) if budget else 0.0
        mean = math.fsum(atom["weight"] * atom["distance"] for atom in gone) / mass if mass else 0.0
        farthest = max((atom["distance"] for atom in gone), default=0.0)
        share = spent / budget if budget else 0.0
        out.append(Moved(original, mass, mean, farthest, share, "; ".join(_flips(gone, original)), _least(gone)))
    return sorted(out, key=lambda row: (-row.mass, row.original["sample"]))


def _least(gone: list[Json]) -> str | None:
    """The least that float32 makes of the errors among atoms; None where there is none, or the document does not say."""
    said = {atom["float32"] for atom in gone}
    return next((flip for flip in ("no", "barely", "orders-tried", "any-order") if flip in said), None)


def _has_moved(atom: Json, original: Json) -> bool:
    return bool(atom["distance"] > 0 or atom["label"] != original["label"] or atom["point"] != original["point"])


def _price(atom: Json, original: Json, data: Json) -> float:
    """The p-th root of what a unit of the atom's mass costs."""
    if atom["label"] == original["label"]:
        return float(atom["distance"])
    power = number(data["order"])
    return float((atom["distance"] ** power + number(data["label_cost"]) ** power) ** (1 / power))


def _flips(atoms: list[Json], original: Json) -> list[str]:
    """Which predictions and labels change, each once."""
    out = []
    for atom in atoms:
        if atom["label"] is None:  # of a specification
            if original["predicted"] is None and atom["predicted"] is not None:
                out.append(f"violates disjunct {atom['predicted']}")
            continue
        if None not in (atom["predicted"], original["predicted"]) and atom["predicted"] != original["predicted"]:
            out.append(f"class {original['predicted']} → {atom['predicted']}")
        if atom["label"] != original["label"]:
            out.append(f"label {original['label']} → {atom['label']}")
    return list(dict.fromkeys(out))


def blocks(data: Json, key: str, shape: tuple[int, ...] | None) -> list[Block]:
    """The figure and the table by sample, then the atoms."""
    rows = moved_mass(data)
    if not rows:
        return [Notes("Where the worst case puts its mass", ("This answer comes without a distribution.",))]
    some = [row for row in rows if row.mass > 0]
    if not some:
        text = "Nothing is moved: the nominal distribution itself attains the lower bound."
        return [Notes("Where the worst case puts its mass", (text,))]
    return [_figure(data, key, some), _table(data, key, rows), _atoms(data, key, shape)]


def _figure(data: Json, key: str, rows: list[Moved]) -> Figure:
    shown = rows[:_BARS]
    total = math.fsum(row.mass for row in rows)
    flipped = sum(bool(row.flips) for row in rows)
    left = len(rows) - len(shown)
    others = f" The {words.count(left, 'sample')} with less moved mass are left out here." if left else ""
    caption = (
        f"{words.percent(total)} of all probability mass is moved, from {len(rows)} of {words.count(data['samples']['count'], 'sample')}; "
        f"for {flipped} of them {_FLIPS[data['loss'] == 'specification']} (filled bars). The line over a bar is the whole mass of its "
        f"sample.{others}"
    )
    bars = [(row.original["sample"], row.mass, row.original["weight"], bool(row.flips)) for row in shown]
    largest = rows[0]
    description = (
        f"Bars of the moved mass for {words.count(len(shown), 'sample')}, largest first: sample {largest.original['sample']} "
        f"moves {near(largest.mass)} of its {near(largest.original['weight'])}."
    )
    return Figure(
        f"{key}-mass",
        "Where the worst case puts its mass",
        description,
        caption,
        partial(figures.mass, bars),
    )


def _table(data: Json, key: str, rows: list[Moved]) -> Table:
    labelled = data["loss"] != "specification"
    columns = (
        Column("Sample", True),
        *([Column("Label", True)] if labelled else []),
        Column("Moved", True),
        Column("Of its mass", True),
        Column("Distance, mean", True),
        Column("Largest", True),
        Column("Of the budget", True),
        Column("Flip" if labelled else "Violated"),
        Column("In float32"),
    )
    finite = math.isfinite(number(data["order"])) and number(data["radius"]) > 0
    entries = []
    for row in rows:
        weight = row.original["weight"]
        share = row.mass / weight if weight else 0.0
        entries.append(
            (
                words.whole_cell(row.original["sample"]),
                *([words.whole_cell(row.original["label"])] if labelled else []),
                Cell(near(row.mass), row.mass),
                Cell(words.percent(share), share),
                Cell(near(row.mean), row.mean),
                Cell(up(row.farthest) if row.farthest else "0", row.farthest),
                Cell(words.percent(row.share), row.share) if finite else Cell("–", None),
                Cell(row.flips or "no", row.flips),
                words.float32_cell(row.float32),
            )
        )
    note = (
        "Moved is the probability mass that leaves the sample's own point or label; distances are ground costs. Flip: whether "
        "the network predicts another class at the moved point than at the original, or the label itself was moved. "
        + words.FLOAT32_NOTE
    )
    if not labelled:
        note = (
            "Moved is the probability mass that leaves the sample's own point; distances are ground costs. Violated: which disjunct holds "
            "at the moved point, where none does at the original. " + words.FLOAT32_NOTE
        )
    return Table(f"{key}-by-sample", "The worst case by sample", columns, tuple(entries), note)


def _atoms(data: Json, key: str, shape: tuple[int, ...] | None) -> Pictures:
    originals = {original["sample"]: original for original in data["originals"]}
    moved = [atom for atom in data["atoms"] if _has_moved(atom, originals[atom["sample"]])]
    moved.sort(key=lambda atom: (-atom["weight"], atom["sample"]))
    shown, left = moved[:SHOWN], len(moved) - SHOWN
    note = f"The {len(shown)} with most moved mass; {left} more are left out." if left > 0 else ""
    pairs = [(originals[atom["sample"]], atom) for atom in shown]
    scale = pictures.scale(data, pairs) if shape is not None else None
    made = []
    for k, (original, atom) in enumerate(pairs):
        title = f"Sample {original['sample']}"
        text = _atom_facts(original, atom)
        if scale is not None and shape is not None:
            images = pictures.triptych(original["point"], atom["point"], shape, scale, data["network"]["input_shape"])
            named = zip(("original", "worst case", "difference"), images, strict=True)
            made.append(Picture(title, text, tuple((f"{title}: {name}", image) for name, image in named)))
        else:
            made.append(
                Picture(
                    title, text, table=features(f"{key}-atom-{k}", original["sample"], original["point"], atom["point"])
                )
            )
    return Pictures("The atoms beside their originals", note, tuple(made))


def _atom_facts(original: Json, atom: Json) -> str:
    parts = [
        f"mass {near(atom['weight'])}",
        f"distance {small(atom['distance'], 4)}",
        f"loss {words.brief(number(atom['loss']), upper=False)}",
    ]
    flips, flip = _flips([atom], original), atom["float32"]
    single = [] if flip is None else [f"in float32: {words.IN_FLOAT32[flip]}"]
    if original["label"] is None:
        return ", ".join([*parts, *(flips or ["no new violation"]), *single])
    return ", ".join([f"label {original['label']}", *parts, *(flips or ["no flip"]), *single])


def features(key: str, sample: int, origin: Sequence[float], point: Sequence[float]) -> Table:
    """The features of one sample before and after, the most changed ones first."""
    pairs = list(enumerate(zip(origin, point, strict=True)))
    pairs.sort(key=lambda entry: (-abs(entry[1][1] - entry[1][0]), entry[0]))
    changed = sum(before != after for _, (before, after) in pairs)
    rows = tuple(
        (
            words.whole_cell(k),
            Cell(near(before, 6), before),
            Cell(near(after, 6), after),
            Cell(near(after - before) if after != before else "0", after - before),
        )
        for k, (before, after) in pairs[:_FEATURES]
    )
    left = len(pairs) - len(rows)
    note = f"{changed} of {words.count(len(pairs), 'feature')} changed" + (f"; {left} are not shown." if left else ".")
    heads = (Column("Feature", True), Column("Original", True), Column("Worst case", True), Column("Difference", True))
    return Table(key, f"Features of sample {sample}", heads, rows, note)
