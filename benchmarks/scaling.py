"""Series: one figure against one quantity, each point a run of ours alone; numbers in results.json, pictures in pictures/ beside it.

Seconds are those of ``verify`` with the plan's processes and the cap of our own runs; attack throughput is points evaluated per second of
``run_attacks``, on the CPU and, where torch sees one, on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import ours
from contenders import Plan, tell
from pictures import draw
from record import Record
from sources import Data, instance, model, noisy_iris, random_network
from workloads import Workload


@dataclass(frozen=True, eq=False)
class Point:
    """A place on the axis: the number there, its words, and what is run."""

    x: float
    label: str
    workload: Workload


@dataclass(frozen=True, eq=False)
class Series:
    """``points``, of which the first ``quick`` belong to the quick set; ``throughput`` measures the attacks instead of the run."""

    title: str
    x: str
    y: str
    points: Sequence[Point]
    quick: int
    throughput: bool = False


Source = Callable[[int], Data]


def _point(x: float, label: str, source: Source, count: int, radius: float, gap: float = 1e-4, **more: object) -> Point:
    return Point(x, label, Workload(label, source, count, radius, norm="inf", gap=gap, **{"loss": "margin", **more}))


_IRIS_COUNTS, _DIGITS_COUNTS, _RADII = (100, 300, 1000, 3000, 10_000), (10, 20, 50, 100), (0.01, 0.02, 0.05, 0.1, 0.2)
_WIDTHS, _INPUTS = (8, 16, 32, 64, 128), (4, 16, 64, 256, 784)
_SMALL, _ROBUST = model("digits_16x16"), model("digits_32x32_robust")
_DEEP = {"variable": "WDAVERIFY_INSTANCES"}

SERIES: dict[str, Series] = {
    "scaling-samples-iris": Series(
        "Time against the number of samples, iris_8x8 with noise (l-inf, radius 0.05, gap 1e-4)",
        "samples",
        "seconds",
        [_point(n, f"{n}", noisy_iris, n, 0.05) for n in _IRIS_COUNTS],
        2,
    ),
    "scaling-samples-iris-zero-one": Series(
        "Time against the number of samples, the budget on few: iris_8x8 with noise, zero-one (l-inf, radius 0.01, gap 1e-4)",
        "samples",
        "seconds",
        [_point(n, f"{n}", noisy_iris, n, 0.01, loss="zero-one") for n in _IRIS_COUNTS],
        2,
    ),
    "scaling-samples-digits": Series(
        "Time against the number of samples, digits_16x16 (l-inf, radius 0.05, gap 1e-6)",
        "samples",
        "seconds",
        [_point(n, f"{n}", _SMALL, n, 0.05, 1e-6) for n in _DIGITS_COUNTS],
        2,
    ),
    "scaling-relus-digits": Series(
        "Time against ReLUs, digits networks (10 samples, l-inf, radius 0.02, gap 1e-3)",
        "ReLUs",
        "seconds",
        [
            _point(32, "32 (digits_16x16)", _SMALL, 10, 0.02, 1e-3),
            _point(64, "64 (digits_32x32_robust)", _ROBUST, 10, 0.02, 1e-3),
            _point(192, "192 (64-64-64_robust)", instance("digits_64-64-64_robust"), 10, 0.02, 1e-3, **_DEEP),
        ],
        1,
    ),
    "scaling-relus-random": Series(
        "Time against ReLUs, random networks 8-m-m-3 (10 samples, l-inf, radius 0.05, gap 1e-4)",
        "ReLUs",
        "seconds",
        [_point(2 * m, f"{2 * m} (8-{m}-{m}-3)", random_network([8, m, m, 3]), 10, 0.05) for m in _WIDTHS],
        3,
    ),
    "scaling-inputs": Series(
        "Time against the width of the input, random networks n-16-16-3 (10 samples, l-inf, radius 0.05, gap 1e-4)",
        "inputs",
        "seconds",
        [_point(n, f"{n}", random_network([n, 16, 16, 3]), 10, 0.05) for n in _INPUTS],
        3,
    ),
    "scaling-radius": Series(
        "Time against the radius, digits_16x16 (20 samples, l-inf, gap 1e-6)",
        "radius",
        "seconds",
        [_point(r, f"{r}", _SMALL, 20, r, 1e-6) for r in _RADII],
        2,
    ),
    "scaling-attacks": Series(
        "Attack throughput (100 samples, l-inf, radius 0.05)",
        "ReLUs",
        "points a second",
        [
            _point(32, "digits_16x16", _SMALL, 100, 0.05),
            _point(64, "digits_32x32_robust", _ROBUST, 100, 0.05),
            _point(200, "random 784-100-100-10", random_network([784, 100, 100, 10]), 100, 0.05),
        ],
        2,
        throughput=True,
    ),
}


def measure(name: str, plan: Plan, record: Record, *, quick: bool) -> None:
    """Run a series; numbers and picture are brought up to date after every point."""
    series = SERIES[name]
    entry = {"title": series.title, "x": series.x, "y": series.y}
    for point in series.points[: series.quick] if quick else series.points:
        reason = point.workload.skipped()
        if reason is not None:
            tell(f"{name}: {point.label} skipped, {reason}")
            record.skip(f"{name}: {point.label}", f"skipped: {reason}")
            continue
        record.ran(f"{name}: {point.label}")
        for one in _throughput(point, plan) if series.throughput else _seconds(point, plan):
            whole = record.series(name, entry, {"x": point.x, "label": point.label, **one})
            draw(record.path.parent / "pictures" / f"{name}.svg", whole)
            tell(f"{name}: {point.label}: {one['y']:.4g} {series.y} {one['note']}")


def _seconds(point: Point, plan: Plan) -> Iterator[dict[str, object]]:
    """The median run."""
    problem, runs = point.workload.problem(), []
    for _ in range(plan.repeats):
        outcome, _ = ours.run(point.workload, problem, {}, jobs=plan.jobs, limit=plan.own_limit)
        runs.append(outcome)
        if outcome.state != "done":
            break
    middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    worst = next((run.state for run in runs if run.state != "done"), "done")
    open_ = "" if worst == "done" else f"; not closed, the cap was {plan.own_limit:g} s"
    note = f"{middle.note}; {len(runs)} run{'s' if len(runs) > 1 else ''}{open_}"
    yield {"y": middle.seconds, "state": worst, "note": note, "group": "", "seconds": [run.seconds for run in runs]}


def _throughput(point: Point, plan: Plan) -> Iterator[dict[str, object]]:
    """Points a second on each device there is; the first run on a GPU, which loads its kernels, does not count."""
    import torch

    from wdaverify.attacks.run import run_attacks

    problem = point.workload.problem()
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        if device == "cuda":
            run_attacks(point.workload.problem(1), device=device)
        outcomes = [run_attacks(problem, device=device) for _ in range(plan.repeats)]
        rates = sorted(o.evaluations / o.seconds for o in outcomes)
        where = "CPU, one thread" if device == "cpu" else f"GPU, {torch.cuda.get_device_name()}"
        note = f"{where}; {outcomes[0].evaluations} points in {outcomes[0].seconds:.1f} s"
        yield {"y": rates[len(rates) // 2], "state": "done", "note": note, "group": where, "rates": rates}
