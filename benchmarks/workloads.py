"""The registry: named workloads, each a network, samples, a question, a gap, and the settings that are compared.

The cross product of the digits networks is registered whole under ``NETWORK-nN-rRADIUS-LOSS-NORM``; the default set is a part of
it in which every value of every axis occurs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product

from sources import PROPERTIES, Data, MissingFolderError, cartpole, folder, instance, mnist, model, properties

from wdaverify import GroundCost, Loss, Norm, WdroProblem, make_samples

Settings = dict[str, dict[str, object]]
"""Name -> keyword arguments of ``verify``; the settings of a workload alternate."""
AUTO: Settings = {"auto": {}}


@dataclass(frozen=True, eq=False)
class Workload:
    """One question: V(radius), or with ``distances`` the distance of every sample to its nearest error.

    All distances are also the zero-one curve at all radii: ``curve`` asks for them, and sorts.
    """

    name: str
    source: Callable[[int], Data]
    samples: int
    radius: float
    loss: str
    norm: str
    gap: float = 1e-6
    distances: bool = False
    variable: str | None = None
    settings: Settings = field(default_factory=lambda: AUTO)
    default: bool = True
    quick: bool = False
    baselines: bool = True

    def skipped(self) -> str | None:
        """Why it cannot be run here, or None."""
        try:
            if self.variable is not None:
                folder(self.variable)
        except MissingFolderError as error:
            return str(error)
        return None

    def problem(self, count: int | None = None) -> WdroProblem:
        """The question on the first ``count`` samples, by default all of them, each of equal weight."""
        network, samples, support = self.source(self.samples)
        if count is not None and count < len(samples):
            samples = make_samples(samples.x[:count], samples.y[:count], source=samples.source)
        return WdroProblem(network, samples, GroundCost(Norm(self.norm), 1), support, Loss(self.loss), self.radius)


_CELLS: Settings = {**AUTO, "gurobi": {"solver": "gurobi"}, "proved": {"certificate": True}}
_BACKENDS: Settings = {**_CELLS, "highs": {"solver": "highs"}}
_STARTS: Settings = {
    f"{solver}, {words}": {"solver": solver, "mip_start": start}
    for solver in ("gurobi", "highs")
    for start, words in ((False, "no start"), (True, "MIP start"))
}

NETWORKS = ("digits_16x16", "digits_32x32_robust")
COUNTS = (10, 50, 100)
RADII = (0.02, 0.05, 0.1)
LOSSES = ("margin", "zero-one")
NORMS = ("inf", "1")
_QUICK = (
    "digits_16x16-n10-r0.05-margin-inf",
    "digits_16x16-n10-r0.05-zero-one-inf",
)
_DEFAULT = (
    *_QUICK,
    "digits_16x16-n50-r0.05-margin-inf",
    "digits_16x16-n50-r0.1-margin-1",
    "digits_16x16-n50-r0.05-zero-one-inf",
    "digits_16x16-n100-r0.02-margin-inf",
    "digits_16x16-n100-r0.05-margin-inf",
    "digits_16x16-n100-r0.1-zero-one-1",
    "digits_32x32_robust-n10-r0.02-margin-inf",
    "digits_32x32_robust-n10-r0.1-margin-1",
    "digits_32x32_robust-n50-r0.02-margin-inf",
    "digits_32x32_robust-n50-r0.05-margin-inf",
    "digits_32x32_robust-n50-r0.05-zero-one-inf",
    "digits_32x32_robust-n100-r0.02-zero-one-1",
)


def _digits() -> Iterator[Workload]:
    for network, count, radius, loss, norm in product(NETWORKS, COUNTS, RADII, LOSSES, NORMS):
        name = f"{network}-n{count}-r{radius}-{loss}-{norm}"
        kept, quick = name in _DEFAULT, name in _QUICK
        yield Workload(name, model(network), count, radius, loss, norm, default=kept, quick=quick)


def _named() -> Iterator[Workload]:
    deep, real = instance("digits_64-64-64_robust"), "WDAVERIFY_REALWORLD"
    yield Workload("digits_64x64x64_robust-n10", deep, 10, 0.02, "margin", "inf", 1e-3, variable="WDAVERIFY_INSTANCES")
    yield Workload("iris-30", model("iris_8x8"), 30, 0.05, "margin", "inf", quick=True)
    yield Workload("iris-30-zero-one", model("iris_8x8"), 30, 0.05, "zero-one", "inf", quick=True)
    for network in ("nv_mnist_784-30-20-10", "marabou_mnist2x10"):
        yield Workload(network, mnist(network), 20, 0.02, "margin", "inf", 1e-3, variable=real)
    yield Workload("cartpole", cartpole, 20, 0.02, "margin", "inf", 1e-3, variable=real)
    question = (properties, PROPERTIES, 0.03, "zero-one", "inf", 1e-4)
    yield Workload("mnist-net_256x2-distances", *question, distances=True, variable=real)
    for network, count in (
        ("digits_16x16", 20),
        ("digits_16x16", 50),
        ("digits_16x16", 100),
        ("digits_32x32_robust", 10),
    ):
        name, source = f"{network}-n{count}-distances", model(network)
        yield Workload(name, source, count, 0.05, "zero-one", "inf", distances=True)
    for network in NETWORKS:
        for norm in ("inf", "2"):
            name = f"{network}-n50-distances-{norm}"
            yield Workload(
                name, model(network), 50, 0.05, "zero-one", norm, distances=True, default=False, baselines=False
            )
    for network, norm in product(("nv_mnist_784-30-20-10", "marabou_mnist2x10"), ("inf", "2")):
        question = (mnist(network), 30, 0.05, "zero-one", norm)
        name = f"{network}-n30-distances-{norm}"
        yield Workload(name, *question, distances=True, default=False, baselines=False, variable=real)


def _settings() -> Iterator[Workload]:
    """Workloads that compare settings of our own; asked for by name."""
    small, own = model("digits_16x16"), {"default": False, "baselines": False}
    yield Workload("main-job", small, 20, 0.05, "margin", "inf", settings=_BACKENDS, **own)
    yield Workload("digits-50", small, 50, 0.05, "margin", "inf", settings=_CELLS, **own)
    yield Workload("digits-50-zero-one", small, 50, 0.05, "zero-one", "inf", settings=_BACKENDS, **own)
    yield Workload("digits-l1", small, 20, 0.5, "margin", "1", settings=_CELLS, **own)
    yield Workload("robust-5", model("digits_32x32_robust"), 5, 0.02, "margin", "inf", settings=_CELLS, **own)
    yield Workload("iris-settings", model("iris_8x8"), 30, 0.05, "margin", "inf", settings=_BACKENDS, **own)
    yield Workload("mip-start", small, 10, 0.05, "margin", "inf", settings=_STARTS, **own)
    yield Workload("mip-start-zero-one", small, 20, 0.05, "zero-one", "inf", settings=_STARTS, **own)


WORKLOADS: dict[str, Workload] = {w.name: w for w in (*_digits(), *_named(), *_settings())}


def chosen(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names that are asked for by name or pattern, in the order of the registry.

    Raises:
        LookupError: a pattern that fits none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise LookupError(f"nothing is named {pattern}; --list shows what is")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
