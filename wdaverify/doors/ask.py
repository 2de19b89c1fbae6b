"""One call from a model to an answer: what the command line does, with its words.

Each takes a model, points and labels (``doors.question`` says which); ``distances``, ``curve`` and ``attack`` also the problem that
was made of them, ``lipschitz_constant`` a ``LipschitzProblem``.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from wdaverify.doors.accuracy import RobustAccuracy
from wdaverify.doors.classes import class_numbers
from wdaverify.doors.question import is_callable_alone, is_module, network_of, question, support_of
from wdaverify.doors.words import CORES, jobs_of, keywords, split, taking
from wdaverify.errors import NetworkError, ProblemError
from wdaverify.given import instance, listed, number, real, told, word
from wdaverify.ground import GroundCost
from wdaverify.ladder import compare as ladder
from wdaverify.ladder.rung import Comparison
from wdaverify.lipschitz import exact as slopes
from wdaverify.lipschitz.question import LipschitzProblem, Measure, in_reals_alone
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.problem import WdroProblem
from wdaverify.report.live import following
from wdaverify.samples import make_samples
from wdaverify.wdro import attacking
from wdaverify.wdro import curve as curves
from wdaverify.wdro import distances as nearest
from wdaverify.wdro import programs as exported
from wdaverify.wdro.curve import CurveResult
from wdaverify.wdro.distances import DistancesResult
from wdaverify.wdro.result import AttackResult, VerificationResult
from wdaverify.wdro.verify import verify

if TYPE_CHECKING:
    from wdaverify.wdro.module_attack import ModuleAttackResult

_Result = TypeVar("_Result")
_NOT_HERE = ("executor", "slots", "branching")
_EXACT = ("solver", "threshold", "mip_start", "certificate", "memory_limit")
"""Keywords of a comparison that are about its exact run."""
_WITHOUT = ("radius", "order", "loss", "functionals", "label_cost", "weights", "reproduced")
"""What the question about distances does not have."""


@taking(question, verify, without=_NOT_HERE, jobs=CORES, progress=False)
def worst_case(model: Any, X: Any, y: Any = None, **words: Any) -> VerificationResult:
    """The worst-case expected loss of a model over the Wasserstein ball around samples, as a bracket and a reason.

        wd.worst_case(model, X, y, radius=0.05, support=(0, 1))
        wd.worst_case(model, X, radius=0.05, support="specification", loss="specification", specification="safe.vnnlib")

    Args:
        model, X, y, radius, support, norm, order, loss, ...: the question, see ``wdaverify.question``.
        progress: True shows the bracket while it works, in a terminal or under a notebook's cell; or a function called with it.
        jobs: processes, one for each core by default; None solves in this process.
        solver, gap, time_limit, threshold, certificate, ...: as ``wdaverify.verify``.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    asked, how = split(words, question, verify)
    return _run(verify, question(model, X, y, **asked), how)


@taking(
    question,
    verify,
    without=(*_NOT_HERE, "radius", "order", "loss", "functionals", "label_cost", "threshold", "specification"),
    jobs=CORES,
    progress=False,
)
def robust_accuracy(model: Any, X: Any, y: Any, *, eps: Any, **words: Any) -> RobustAccuracy:
    """The share of samples that the model gets right at every point within ``eps``: certified and attacked, exact where they meet.

        wd.robust_accuracy(model, X, y, eps=8/255, support=(0, 1))

    That is 1 - V for the zero-one loss at order inf; every other keyword is as for ``worst_case``. A tie counts as an error.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    asked, how = split(words, question, verify)
    problem = question(model, X, y, **asked, radius=eps, order=math.inf, loss="zero-one")
    return RobustAccuracy(_run(verify, problem, how))


def distances(model: Any, X: Any = None, y: Any = None, **words: Any) -> DistancesResult:
    """The distance of every sample to its nearest error: of a model, X and y, or of a ``WdroProblem`` (then as ``wdro.distances``).

        wd.distances(model, X, y, support=(0, 1))

    With ``specification`` (and without y) to the nearest input that violates it.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    if X is None and y is None:
        return _of_problem(nearest.distances, model, words)
    return _distances(_model(model), X, y, **words)


@taking(question, nearest.distances, without=_WITHOUT, jobs=CORES, progress=False)
def _distances(model: Any, X: Any, y: Any = None, **words: Any) -> DistancesResult:
    asked, how = split(words, question, nearest.distances)
    loss = "zero-one" if asked.get("specification") is None else "specification"
    return _run(nearest.distances, question(model, X, y, **asked, radius=0.0, loss=loss), how)


def curve(model: Any, X: Any = None, y: Any = None, **words: Any) -> CurveResult:
    """The worst case at every radius from 0 to ``max_radius``: of a model, X and y, or of a ``WdroProblem`` (then as ``wdro.curve``).

        wd.curve(model, X, y, max_radius=0.1, support=(0, 1))

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    if X is None and y is None:
        return _of_problem(curves.curve, model, words)
    return _curve(_model(model), X, y, **words)


@taking(question, curves.curve, without=("radius",), jobs=CORES, progress=False)
def _curve(model: Any, X: Any, y: Any = None, *, max_radius: Any, **words: Any) -> CurveResult:
    asked, how = split(words, question, curves.curve)
    return _run(curves.curve, question(model, X, y, **asked, radius=max_radius), how)


def attack(model: Any, X: Any = None, y: Any = None, **words: Any) -> AttackResult | ModuleAttackResult:
    """Lower bounds alone, by attacks: of a model, X and y, or of a ``WdroProblem`` (then as ``wdro.attacking.attack``).

    A ``torch.nn.Module`` that cannot be read as a graph, and any other callable on tensors, is attacked too: it evaluates its worst
    case itself in floating point, the result is a ``ModuleAttackResult`` whose ``vouched`` is ``module``, and no part of a bracket.

        wd.attack(resnet, images, labels, radius=8/255, order="inf", loss="zero-one", support=(0, 1), budget=1_000_000)

    Args:
        vouched: "auto"; "checked" refuses a module that is no graph; "module" lets any module evaluate itself.
        batch: of a module that evaluates itself, how many points it is given at a time (64), which bounds its memory.
        progress: of such a module, True for a line on stderr, or a function of evaluations and seconds.
        attacks: also the sweep and the polish; a module that evaluates itself is attacked by wda, wda++ and ensemble alone by default.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    if X is None and y is None:
        return _of_problem(attacking.attack, model, words)
    return _attack(_model(model), X, y, **words)


@taking(question, attacking.attack)
def _attack(
    model: Any, X: Any, y: Any = None, *, vouched: Any = "auto", batch: Any = None, progress: Any = False, **words: Any
) -> AttackResult | ModuleAttackResult:
    vouched = word("vouched", vouched, ("auto", "checked", "module"))
    asked, how = split(words, question, attacking.attack)
    why: tuple[str, ...] = ()
    if vouched != "module" and not is_callable_alone(model):
        try:
            problem = question(model, X, y, **asked)
        except NetworkError as error:
            if vouched == "checked" or not is_module(model):
                raise
            why = (f"read as a module, not as a graph: {error}",)
        else:
            if batch is not None or progress:
                raise ProblemError(
                    "batch and progress are about a module that evaluates itself, and this model is read as a graph; leave them "
                    "out, or say vouched='module'"
                )
            return attacking.attack(problem, **how)
    elif vouched == "checked":
        raise NetworkError("a callable is no graph; vouched='auto' or 'module' lets it evaluate itself")
    from wdaverify.doors.module_question import attack_module

    extra = {} if batch is None else {"batch": batch}
    return attack_module(model, X, y, **asked, **how, **extra, progress=progress, notices=why)


@taking(question, exported.programs)
def export_programs(model: Any, X: Any, y: Any, *, to: Any, **words: Any) -> exported.Programs:
    """Write the question's mixed-integer programs into a folder, for any other solver: MPS, LP and start of each, and a README.

        wd.export_programs(model, X, y, radius=0.05, support=(0, 1), to="programs")

    Args:
        to: a folder that does not exist yet, or an empty one.
        multiplier, device, seed: as ``wdaverify.wdro.programs.programs``.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    from wdaverify.report.programs import check_folder, write_programs

    asked, how = split(words, question, exported.programs)
    problem = question(model, X, y, **asked)
    if not isinstance(to, str | os.PathLike):
        raise ProblemError(f"to {told(to)}: the path of a folder is accepted")
    check_folder(to)
    made = exported.programs(problem, **how)
    write_programs(made, to)
    return made


def _settings(
    *,
    rungs: Any = tuple(ladder.NAMES),
    rung_limit: Any = 60.0,
    solver: Any = "auto",
    gap: Any = 1e-6,
    time_limit: Any = None,
    jobs: Any = CORES,
    threshold: Any = None,
    device: Any = "auto",
    seed: Any = 0,
    mip_start: Any = False,
    certificate: Any = False,
    memory_limit: Any = None,
    progress: Any = False,
) -> None:
    """The keywords of a comparison."""


@taking(question, _settings, without=("radius",))
def compare(model: Any, X: Any, y: Any = None, *, radii: Any, **words: Any) -> Comparison:
    """The ladder: certificates above and attacks below the exact bracket, at one radius or several.

        wd.compare(model, X, y, radii=[0.02, 0.05], support=(0, 1))

    Args:
        radii: one radius or a list.
        rungs, rung_limit, ...: as ``wdaverify.ladder.compare.Settings``.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    asked, how = split(words, question, _settings)
    several = [radii] if number(radii) is not None else listed("radii", radii, "a radius or a list of them")
    if not several:
        raise ProblemError("radii: at least one radius is accepted")
    several = [real("radius", each, "a finite number >= 0", lambda r: 0 <= r < math.inf) for each in several]
    unused = [name for name in _EXACT if name in how and "exact" not in how.get("rungs", ("exact",))]
    if unused:
        raise ProblemError(
            f"{', '.join(unused)}: about the exact run, which is not among the rungs; leave it out, or add 'exact'"
        )
    progress = how.pop("progress", False)
    settings = ladder.Settings(**{**how, "jobs": jobs_of(how.get("jobs", CORES))})
    problem = question(model, X, y, **asked, radius=max(several))
    with _progress(progress) as tell:
        return ladder.compare(problem, several, settings, progress=tell)


def _region(
    *,
    support: Any,
    norm: Any = "inf",
    outputs: Any = None,
    margins: Any = None,
    around: Any = None,
    within: Any = None,
    arithmetic: Any = "real",
) -> None:
    """The keywords of the question about a Lipschitz constant."""


@taking(_region, slopes.lipschitz, jobs=CORES, progress=False)
def _lipschitz(model: Any, **words: Any) -> LipschitzResult:
    asked, how = split(words, _region, slopes.lipschitz)
    return _run(slopes.lipschitz, _slopes(model, **asked), how)


def lipschitz_constant(model: Any, **words: Any) -> LipschitzResult:
    """The exact Lipschitz constant of a model (a network, a file, a scikit-learn model), or of a ``LipschitzProblem``.

        wd.lipschitz_constant(network, support=(0, 1), norm=2)

    Args:
        support, norm: the region, and the norm of the inputs (and of the outputs, for the operator norm of the whole Jacobian).
        outputs: a list of outputs i and pairs (i, j) for ``z_i - z_j``, instead of the operator norm.
        margins: "all", or a list of classes y (of a scikit-learn model its own labels): ``z_j - z_y`` for every rival j, likewise.
        around, within: points ``[N, ...]`` and the radius of the balls around them that are meant instead of the whole region.
        arithmetic: "real" alone: in float32 a network is piecewise constant, and no constant bounds its jumps.
        solver, gap, time_limit, each, ...: as ``wdaverify.lipschitz.exact.lipschitz``.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    if isinstance(model, LipschitzProblem):
        return slopes.lipschitz(model, **words)
    return _lipschitz(model, **words)


def _slopes(
    model: Any,
    *,
    support: Any,
    norm: Any = "inf",
    outputs: Any = None,
    margins: Any = None,
    around: Any = None,
    within: Any = None,
    arithmetic: Any = "real",
) -> LipschitzProblem:
    """The question about a Lipschitz constant."""
    in_reals_alone(arithmetic)
    if outputs is not None and margins is not None:
        raise ProblemError("outputs and margins are two measures; give one of them, or none for the operator norm")
    if (around is None) != (within is None):
        raise ProblemError("around (points) and within (the radius of the balls around them) belong together")
    network = network_of(model)
    measure = Measure.operator_norm(network)
    if outputs is not None:
        entries = listed("outputs", outputs, "a list of outputs i and pairs (i, j)")
        pairs = [tuple(entry) if isinstance(entry, tuple | list) else (entry, None) for entry in entries]
        measure = Measure.outputs(network, pairs)
    if margins is not None:
        network = network.two_classes() if network.n_outputs == 1 else network
        every = isinstance(margins, str) and margins == "all"
        if network.classes == ():
            raise ProblemError(
                f"{network.name} is a regressor, whose outputs are no scores of classes: outputs=[...] names outputs"
            )
        if not every and network.classes:
            margins = class_numbers(network.classes, margins).tolist()
        measure = Measure.margins(
            network, list(range(network.n_outputs)) if every else listed("margins", margins, "'all' or classes")
        )
    region, cost = support_of(support, network), GroundCost(norm, 1)
    if around is None:
        return LipschitzProblem(network, cost, region, measure)
    count = 0 if number(around) is not None else len(listed("around", around, "points [N, ...]"))
    return LipschitzProblem(network, cost, region, measure, make_samples(around, [0] * count), within)


def save_report(
    results: Any,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    author: str | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> None:
    """Write one page of a result or several (what ``wdaverify report`` makes of their files): ``.html``, or ``.pdf`` printed by a browser.

    Raises:
        OutputError: another suffix, no browser to print with, or a file that cannot be written.
        DocumentError: the image shape fits none of the networks.
        ProblemError: something is no result.
    """
    from wdaverify.report.present import save_page

    several = results if isinstance(results, list | tuple) else [results]
    if not several:
        raise ProblemError("results: at least one result is accepted")
    several = [one.result if isinstance(one, RobustAccuracy) else one for one in several]
    save_page(several, path, image_shape, title, author)


_SHOWN_AS: dict[Any, Any] = {distances: _distances, curve: _curve, attack: _attack, lipschitz_constant: _lipschitz}
for _public, _private in _SHOWN_AS.items():
    _public.__signature__ = inspect.signature(_private)  # what editors and notebooks show


def _of_problem(run: Callable[..., _Result], problem: Any, words: dict[str, Any]) -> _Result:
    """A problem says what is asked already."""
    instance("problem", problem, WdroProblem, "question(model, X, y, ...) makes one; or give a model, X and y")
    extra = [name for name in words if name in keywords(question) and name not in keywords(run)]
    if extra:
        raise ProblemError(
            f"{', '.join(extra)} beside a WdroProblem, which says that already; leave it out, or give a model"
        )
    if "progress" not in words:
        return run(problem, **words)
    with _progress(words.pop("progress")) as tell:
        return run(problem, **words, progress=tell)


def _model(model: Any) -> Any:
    """Anything but a problem, which goes without points and labels."""
    if isinstance(model, WdroProblem):
        raise ProblemError("X and y beside a WdroProblem, which holds its samples; leave them out, or give a model")
    return model


def _run(run: Callable[..., _Result], problem: Any, how: dict[str, Any]) -> _Result:
    """Answer with what was asked, processes and progress as the doors have them."""
    jobs = jobs_of(how.pop("jobs", CORES))
    with _progress(how.pop("progress", False)) as tell:
        return run(problem, **how, jobs=jobs, progress=tell)


@contextmanager
def _progress(asked: Any) -> Iterator[Callable[[Any], None] | None]:
    """Where progress is told: nowhere, on a line that follows, or to a function of the caller's."""
    if asked is None or asked is False:
        yield None
    elif asked is True:
        with following() as follow:
            yield follow
    elif callable(asked):
        yield asked
    else:
        raise ProblemError(f"progress {told(asked)}: True, False or a function is accepted")
