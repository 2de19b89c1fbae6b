"""The limit: certify every sample once, at the optimal multiplier, with the optimum given as incumbent.

Whatever finds the points and the multiplier, this is left to do by the same engine, bounds and number of processes. It is made of the
run's own parts: workers (their start counted, as in a run), screening and pricing at the multiplier of a finished run, on a
pool that holds the points of its witness; for distances the nearest errors it found; for the zero-one loss those of the witness, and
for the samples that the witness leaves where they are the attacks' (their exact ones are not known). It ends when the bracket is
closed to the gap, as the run does. Between two runs of a search the number of nodes differs a little, so that a
run of few questions may even ask fewer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from ours import Result
from outcome import Outcome
from workloads import Workload

from wdaverify import DistancesResult, Loss, VerificationResult, WdroProblem
from wdaverify.engines.screening import Screen
from wdaverify.engines.threads import one_thread
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import fill_pool, launch, stay_put
from wdaverify.wdro.distances import _DistanceSearch
from wdaverify.wdro.margin import dual_value
from wdaverify.wdro.options import Options
from wdaverify.wdro.pricing import Pricing
from wdaverify.wdro.run import Run
from wdaverify.wdro.workers import Task, Workers
from wdaverify.wdro.zero_one import ZeroOneSearch
from wdaverify.witness.decide import errors
from wdaverify.witness.evaluate import Witness, clean_losses, distances_up


def _every_distance(run: Run, witness: Witness) -> _DistanceSearch:
    return _DistanceSearch(run, witness, np.inf)


def limit(workload: Workload, problem: WdroProblem, result: Result, *, jobs: int, cap: float) -> Outcome:
    """Certify the answer of a finished run again, for at most ``cap`` seconds."""
    if isinstance(result, DistancesResult):
        kept = [i for i, point in enumerate(result.points) if point is not None]
        sample, point = np.array(kept, np.int64), np.array([result.points[i] for i in kept])
        return _by_search(_every_distance, result.problem, (sample, point), workload.gap, jobs, cap)
    if (
        problem.loss is Loss.ZERO_ONE
    ):  # the witness moves only some samples; the others' nearest errors are the attacks'
        found = launch(problem, device="cpu", seed=0, deadline=np.inf, everyone=True)
        sample, point = _moved(result, problem)
        points = np.concatenate([found.sample, sample]), np.concatenate([found.point, point])
        return _by_search(ZeroOneSearch, problem, _nearest(problem, *points), workload.gap, jobs, cap)
    return _by_pricing(problem, result, workload.gap, jobs, cap)


def _moved(result: VerificationResult, problem: WdroProblem) -> tuple[np.ndarray, np.ndarray]:
    """The points of the witness that are not the samples themselves."""
    atoms = [atom for atom in result.atoms if atom.distance > 0]
    points = np.array([atom.point for atom in atoms]).reshape(len(atoms), problem.network.n_inputs)
    return np.array([atom.sample for atom in atoms], np.int64), points


def _nearest(problem: WdroProblem, sample: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest error of each sample among points: the incumbents, so that nothing else is looked at on the clock."""
    cost = distances_up(problem.cost, point, problem.samples.x[sample])
    cost = np.where(errors(problem.network, point, problem.samples.y[sample]), cost, np.inf)
    order = np.lexsort((cost, sample))
    order = order[np.isfinite(cost[order])]
    first = np.unique(sample[order], return_index=True)[1]
    return sample[order[first]], point[order[first]]


@contextmanager
def _opened(problem: WdroProblem, gap: float, jobs: int, cap: float) -> AbstractContextManager[Run]:
    options = Options(gap=gap, time_limit=cap, jobs=jobs, device="cpu")
    run = Run(problem, options, Workers(problem.network, "auto", jobs), None)
    try:
        with one_thread():
            run.workers.warm()
            yield run
    finally:
        run.workers.close()


def _by_pricing(problem: WdroProblem, result: VerificationResult, gap: float, jobs: int, cap: float) -> Outcome:
    multiplier = result.multiplier
    assert multiplier is not None
    with _opened(problem, gap, jobs, cap) as run:
        pool = AtomPool(clean_losses(problem)[0], problem.network.n_inputs)
        fill_pool(problem, pool, *_moved(result, problem))
        pricing = Pricing(run, Screen(problem, run.deadline), pool)
        run.narrow(result.lower, np.inf)

        def settle() -> None:
            run.narrow(-np.inf, dual_value(problem, multiplier, pricing.upper()))

        def draw() -> Task | None:
            return None if run.verdict() is not None else pricing.next_task()

        pricing.move_to(multiplier)
        settle()
        for task, answer in run.work(draw, lambda: None):
            pricing.take(task, answer)
            settle()
    return _outcome(run, len(problem.samples), run.lower, run.upper)


def _by_search(
    search_of: Callable[[Run, object], ZeroOneSearch],
    problem: WdroProblem,
    points: tuple[np.ndarray, np.ndarray],
    gap: float,
    jobs: int,
    cap: float,
) -> Outcome:
    with _opened(problem, gap, jobs, cap) as run:
        search = search_of(run, stay_put(problem))
        search.offer(*points)
        search.search()
    lower, upper = run.lower, run.upper
    if isinstance(search, _DistanceSearch):
        lower, upper = (float(np.mean([getattr(b, s) for b in search.per_sample()])) for s in ("lower", "upper"))
    return _outcome(run, len(problem.samples), lower, upper)


def _outcome(run: Run, count: int, lower: float, upper: float) -> Outcome:
    """What was certified; closed where the run would call it so."""
    seconds, reason = time.monotonic() - run.begun, run.verdict()
    state = {"gap-closed": "done", "time-limit": "limit"}.get(reason.value if reason else "", "open")
    solves = sum(run.solves.values())
    return Outcome(
        state, seconds, count, lower, upper, note=f"{solves} solves", facts={"solves": solves, "nodes": run.nodes}
    )
