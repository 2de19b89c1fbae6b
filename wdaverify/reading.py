"""How samples are read from their file: what of it is used, which column holds the labels, what was moved.

Whoever sends a certificate chose all of that; ``recheck`` compares it with what it is asked for (docs/certificate.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wdaverify.classes import class_names
from wdaverify.errors import SamplesError
from wdaverify.ground import GroundCost, Norm
from wdaverify.problem import Samples
from wdaverify.rounding import dot_error
from wdaverify.samples import csv_records, is_header, label_index, load_samples, read_npz
from wdaverify.untrusted import UnreadableError, shown


@dataclass(frozen=True)
class Column:
    """The column of the labels in a ``.csv``: its index from 0, its name in the header if there is one, whether it is the last.

    ``typed`` is what ``--label-column`` takes for it.
    """

    index: int
    name: str | None
    last: bool
    typed: str

    def __str__(self) -> str:
        return f"{self.index}" if self.name is None else f"{self.index} ({shown(repr(self.name), 60)})"


@dataclass(frozen=True)
class Contents:
    """What a file of samples holds: how many of them; of a ``.csv`` the cells of its first line, and whether they are a header.

    ``labelled``: whether the question is about labels, which stand in the last column of a ``.csv`` unless another is named.
    """

    source: str
    count: int
    first: tuple[str, ...] | None
    header: bool
    labelled: bool = True

    def labels(self, wanted: str | None) -> Column | None:
        """The column that ``--label-column wanted`` means, None in a file without columns, or where no column is left out.

        Raises:
            SamplesError: there is no such column.
        """
        if self.first is None:
            if wanted is not None:
                raise SamplesError(
                    f"{self.source}: a label column is chosen in .csv files only; a .npz has its labels in y"
                )
            return None
        if wanted is None and not self.labelled:
            return None
        try:
            index = self._index(wanted)
        except SamplesError as error:
            raise SamplesError(f"{self.source}: {error}") from None
        name = self.first[index].strip() if self.header else None
        width = len(self.first)
        # a name may stand twice, or be another column's number
        ways = [name or "", str(index), str(index - width)]
        typed = next((way for way in ways if way.isprintable() and self._means(way) == index), str(index))
        return Column(index, name, index == width - 1, typed)

    def _index(self, wanted: str | None) -> int:
        assert self.first is not None
        return label_index(list(self.first), wanted, self.header)

    def _means(self, way: str) -> int | None:
        try:
            return self._index(way)
        except SamplesError:
            return None


@dataclass(frozen=True)
class Moved:
    """How many samples clipping moved, and how far at most in the ground cost and in l-inf, both rounded up."""

    samples: int
    cost: float
    linf: float


@dataclass(frozen=True)
class Reading:
    """How the samples of a question were read: the first of ``there`` in the file, labels of ``column`` (``.csv``), what moved."""

    there: int
    column: Column | None
    moved: Moved


UNMOVED = Moved(0, 0.0, 0.0)


def contents(path: str | Path, classes: Sequence[str] | None = None, labels: bool = True) -> Contents:
    """What a file of samples holds; numbers are not looked at. ``labels`` as for ``load_samples``.

    Raises:
        SamplesError: it cannot be read.
    """
    path, source = Path(path), shown(path, 4096)
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".csv"):
        load_samples(path)  # which refuses it
    try:
        if suffix == ".npz":
            x = read_npz(path, labels)[0]
            return Contents(source, x.shape[0] if x.ndim else 0, None, False, labels)
        with csv_records(path) as records:
            first = next(records, (0, list[str]()))[1]
            if not first:
                raise SamplesError("no samples; at least one is needed")
            header = is_header(first, class_names(classes))
            return Contents(source, sum(1 for _ in records) + (not header), tuple(first), header, labels)
    except (SamplesError, UnreadableError) as error:
        raise SamplesError(f"{source}: {error}") from None


def moved(before: Samples, after: Samples, cost: GroundCost) -> Moved:
    """What clipping did to samples, in units of a ground cost's distance."""
    where = (before.x != after.x).any(axis=1)
    if not where.any():
        return UNMOVED
    with np.errstate(over="ignore"):
        delta = after.x[where] - before.x[where]
        far, linf = (float(some.distance(delta).max()) for some in (cost, GroundCost(Norm.INF, 1)))
    up = 1.0 + dot_error(delta.shape[1] + 4)  # for the differences, their weights and their sum
    return Moved(int(where.sum()), far * up, linf * up)
