"""Results as plain text, at most 100 columns wide, and no wider than the terminal.

A printed bound stays a bound (``wdaverify.digits``), and enough digits are shown to see the gap between lower and upper.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence

from wdaverify.arithmetic import Arithmetic
from wdaverify.digits import at_most, down, percent, places, stated, up, up_to, width
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import WdroProblem
from wdaverify.report.as_json import specification_json
from wdaverify.report.columns import WIDTH as WIDTH
from wdaverify.report.columns import columns
from wdaverify.report.error_rates import error_rates, radius_text, rates_label, rates_text
from wdaverify.report.layers import counted, decided_how, layers, widths
from wdaverify.report.next_steps import AT_RADIUS, held_open, holders, ways_on
from wdaverify.report.threshold import verdict
from wdaverify.wdro.result import Atom, AttackResult, Deployed, Reason, SolverUse, VerificationResult, Voucher
from wdaverify.witness.single import Flip

_LABEL = 16

REASONS = {
    Reason.GAP_CLOSED: "the gap asked for is closed",
    Reason.THRESHOLD_DECIDED: "the threshold is decided, and that was the question",
    Reason.THRESHOLD_UNDECIDED: "the gap asked for is closed, and the threshold lies in it",
    Reason.TIME_LIMIT: "the time limit was reached",
    Reason.INTERRUPTED: "interrupted",
    Reason.EXECUTOR_LOST: "what was to solve is gone",
    Reason.STALLED: "nothing is left to ask that would narrow the bracket (solver tolerances are reached)",
    Reason.UNBOUNDED: "the supremum is +inf, proven",
    Reason.NUMERICAL: "a solver's bound contradicted a re-evaluated point by more than 1e-6",
    Reason.ROUNDING: "closed in real arithmetic; what is left is the error bound of float32",
}


IN_FLOAT32 = {
    Flip.ANY_ORDER: "in error too, whatever the order of summation",
    Flip.ORDERS_TRIED: "in error too, in every order of summation tried",
    Flip.BARELY: "barely in error",
    Flip.NO: "not in error",
}


def verification_summary(result: VerificationResult) -> str:
    """The question, the bracket with what shows it, the attacks beside it, and what it cost; ends without a newline."""
    digits = places(result.lower, result.upper)
    table = [
        ("answer", _answer(result)),
        ("lower", f"{down(result.lower, digits)}   {_lower_voucher(result)}"),
        ("upper", f"{up(result.upper, digits)}   {_upper_voucher(result)}"),
        ("gap", f"{width(result.lower, result.upper)}   (asked for: {stated(result.gap_asked)})"),
        ("nominal", down(result.nominal, digits)),
        ("multiplier", _multiplier(result)),
        ("transport cost", _cost(result.transport_cost, result.problem.radius)),
    ]
    table += [*_beside(result.problem, result.atoms), *_in_float32(result.atoms), *deployed_rows(result.deployed)]
    if result.threshold is not None:
        table.append(("threshold", f"V <= {stated(result.threshold)}: {result.decision}"))
    table += [("next" if k == 0 else "", line) for k, line in enumerate(_next(result))]
    return "\n\n".join(
        (
            question_text(result.problem),
            rows(table),
            _attack_table(result.attacks, result.nominal, result.upper, digits),
            rows([("solver", solver_text(result.solver)), ("work", _work(result)), ("time", _time(result))]),
        )
    )


def attack_summary(result: AttackResult) -> str:
    """The question and the lower bounds found; ends without a newline."""
    best = max([result.nominal, *result.attacks.values()])
    facts = [
        ("answer", "lower bounds only" + ("" if result.finished else " (cut short by a limit)")),
        ("lower", f"{down(best)}   re-evaluated here with outward rounding"),
        ("nominal", down(result.nominal)),
        ("transport cost", _cost(result.transport_cost, result.problem.radius)),
    ]
    facts += [*_beside(result.problem, result.atoms), *_in_float32(result.atoms), *deployed_rows(result.deployed)]
    time = f"{result.seconds:.1f} s, {result.evaluations} evaluations, device {result.device}"
    table = _attack_table(result.attacks, result.nominal, math.inf, 6)
    return "\n\n".join((question_text(result.problem), rows(facts), table, rows([("time", time)])))


def _next(result: VerificationResult) -> list[str]:
    """What to do where there is no answer yet."""
    if result.answered:
        return []
    held = holders((b.sample, b.weight, b.lower, b.upper) for b in result.per_sample)
    lines = [ways_on(result.reason.value, result.lower, result.upper, AT_RADIUS), held_open(held)]
    return [line for line in lines if line]


def _beside(problem: WdroProblem, atoms: Sequence[Atom]) -> list[tuple[str, str]]:
    """What the radius limits, and the share of errors, of the samples and of the atoms."""
    farthest = max((atom.distance for atom in atoms), default=None)
    rates = error_rates(problem, atoms)
    table = [("radius", radius_text(problem.radius, problem.cost.order, farthest))]
    return table if rates is None else [*table, (rates_label(problem.loss), rates_text(rates, problem.loss))]


def _in_float32(atoms: Sequence[Atom]) -> list[tuple[str, str]]:
    """How many of the errors (zero-one loss 1) among the atoms are errors in float32; nothing where there are none."""
    said = Counter(atom.float32 for atom in atoms if atom.float32 is not None)
    if not said:
        return []
    parts = [f"{said[flip]} {words}" for flip, words in IN_FLOAT32.items() if said[flip]]
    return [("float32", f"of {_count(said.total(), 'atom')} in error, in float32: {', '.join(parts)}")]


def deployed_rows(deployed: Deployed | None) -> list[tuple[str, str]]:
    """What float32 added to a bracket, and what one runtime made of the atoms; nothing in real arithmetic."""
    if deployed is None:
        return []
    above, below = up_to(deployed.above, 3), up_to(deployed.below, 3)
    if deployed.lower is None:
        said = (
            f"margins are known up to {above} at most, whatever the order of summation: the search was widened by that"
        )
    elif deployed.upper is None:
        said = f"lowered by {below}, which rounding may take away, whatever the order of summation"
    else:
        real = f"[{down(deployed.lower, 6)}, {up(deployed.upper, 6)}]"
        said = (
            f"the bracket of real arithmetic, {real}, with its upper end raised by {above} and its lower one lowered by {below}: it holds "
            "whatever order a runtime adds in"
        )
    out = [("rounding", said)]
    if deployed.replay is not None:
        replay = deployed.replay
        there = f"{replay.runtime}: {replay.within} of {_count(replay.atoms, 'atom')} reproduce within the error bound"
        out.append(("replayed", f"{there}; no output is farther than {up_to(replay.farthest, 3)} from real arithmetic"))
    return out


def network_summary(network: ReluNetwork) -> str:
    """The layers in the order of the file, the counts, the shapes and the hash; ends without a newline."""
    table = [
        ("network", network.name),
        *_layers(network),
        *(() if network.head is None else (("head", f"{network.head}, which the layers leave out"),)),
        ("neurons" if network.curved else "ReLUs", str(network.n_relus)),
        ("parameters", str(network.n_parameters)),
        ("input shape", f"{_shape(network.input_shape)}, without the batch axis"),
        ("output shape", f"{_shape(network.output_shape)}, without the batch axis"),
        ("sha256", network.sha256),
        *(("note", notice) for notice in network.notices),
    ]
    return rows(table)


def rows(table: list[tuple[str, str]]) -> str:
    """Labels and texts in two columns, wrapped at the width."""
    return "\n".join(
        textwrap.fill(
            text, columns(), initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL, break_on_hyphens=False
        )
        for label, text in table
    )


def question_text(problem: WdroProblem) -> str:
    """The question as a formula, with the names filled in."""
    cost, loss = problem.cost, problem.loss
    norm = cost.norm.short
    meaning = loss.rule.formula
    ball = f"W_{cost.order}(Q, P) <= {stated(problem.radius)}"
    weighted = "" if cost.weights is None else ", features weighted"
    labels = f" with labels move at {stated(cost.label_cost)}" if cost.moves_labels else " with fixed labels"
    what, said = f"E_Q[{loss.value} loss]", f"the loss is {meaning}"
    if problem.specification is not None:
        what, labels, said = "P_Q(specification violated)", "", specification_text(problem)
    formula = f"V({stated(problem.radius)}) = sup {{ {what} : Q on {_box(problem)}, {ball} }}"
    table = [
        ("question", formula),
        ("", f"order {cost.order}, ground cost {norm}{weighted}{labels}; {said}"),
        *arithmetic_rows(problem),
        (
            "network",
            f"{problem.network.name}: {widths(problem.network.graph)}, {counted(problem.network)}",
        ),
        ("samples", f"{len(problem.samples)} from {problem.samples.source}"),
        *(("note", notice) for notice in problem.samples.notices),
    ]
    return rows(table)


def arithmetic_rows(problem: WdroProblem) -> list[tuple[str, str]]:
    """In what arithmetic the network is evaluated, where that is not real arithmetic."""
    if problem.arithmetic is Arithmetic.REAL:
        return []
    return [
        (
            "arithmetic",
            "float32: the outputs as any runtime of IEEE single precision gives them, the loss of these in reals",
        )
    ]


def specification_text(problem: WdroProblem) -> str:
    """When a specification counts as violated."""
    asked = specification_json(problem)
    assert asked is not None
    total, kept = asked["disjuncts"], len(asked["kept"])
    which = (
        _count(total, "disjunct")
        if kept == total
        else f"{kept} of its {_count(total, 'disjunct')} (others cannot hold here)"
    )
    return f"violated: the input is in a box of {asked['name']} and all rows of one disjunct hold; {which}"


def _box(problem: WdroProblem) -> str:
    if not problem.support.bounded:
        return f"R^{problem.support.lower.size}"
    if not problem.support.plain:
        return f"a cut box in R^{problem.support.lower.size}"
    lower, upper = problem.support.lower, problem.support.upper
    if (lower == lower[0]).all() and (upper == upper[0]).all():
        return f"[{stated(lower[0])}, {stated(upper[0])}]^{lower.size}"
    return f"a box in R^{lower.size}"


def _layers(network: ReluNetwork) -> list[tuple[str, str]]:
    """The layers in a row of words; numbered, one a line, where some layer reads others than the one before it."""
    found, names = layers(network.graph), []
    for k, layer in enumerate(found):
        text = "ReLU" if layer.kind == "relu" else f"{layer.kind} {layer.gives}"
        if layer.kind not in ("relu", "diagonal"):
            text = f"{layer.kind} {layer.inputs} -> {layer.gives}"
        read = " + ".join("input" if s == 0 else f"#{s}" for s in layer.sources)
        names.append(text if layer.sources == (k,) else f"{text} of {read}")
    if all(layer.sources == (k,) for k, layer in enumerate(found)):
        return [("layers", ", ".join(names) or "none")]
    return [("" if k else "layers", f"#{k + 1} {name}") for k, name in enumerate(names)]


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _answer(result: VerificationResult) -> str:
    word = result.status.words
    if result.reason is Reason.UNBOUNDED:
        word = "unbounded"
    why = result.detail or REASONS[result.reason]
    if result.threshold is None or result.decision is None:
        return f"{word}: {why}"
    name, proven = verdict(result.decision, result.threshold)
    return f"{name}: {proven}; {why}"


VOUCHERS = {
    Voucher.CHECKED: "re-evaluated here with outward rounding",
    Voucher.SOLVER: "on the solver's word",
    Voucher.PROVED: "by a proof that was checked",
}


def _lower_voucher(result: VerificationResult) -> str:
    if result.vouched_lower is Voucher.CHECKED and result.problem.loss.rule.by_distances:
        return f"each atom's loss decided here {decided_how(result.problem.network)}"
    return VOUCHERS[result.vouched_lower]


def _upper_voucher(result: VerificationResult) -> str:
    """In words; where it rests on solvers, for how many of the samples."""
    words = VOUCHERS[result.vouched_upper]
    trusted = Counter(bracket.vouched for bracket in result.per_sample)[Voucher.SOLVER]
    if result.vouched_upper is Voucher.SOLVER and trusted:
        words += f" for {trusted} of {_count(len(result.per_sample), 'sample')}"
    return words


def _multiplier(result: VerificationResult) -> str:
    return "none (at radius 0, V is the nominal loss)" if result.multiplier is None else stated(result.multiplier)


def _cost(cost: float, radius: float) -> str:
    share = f" ({percent(cost, 0.0, radius)})" if radius > 0 else ""
    shown = at_most(cost, 9)
    if float(shown) > radius >= cost:  # nine digits rounded up would say that the distribution is outside the ball
        shown = stated(cost)
    return f"{shown} of the radius {stated(radius)}{share}"


def _attack_table(attacks: dict[str, float], nominal: float, upper: float, digits: int) -> str:
    """Name, lower bound, and the share of the way from the nominal loss to the upper bound where that is finite."""
    if not attacks:
        return "no attack was run"
    shares = math.isfinite(upper) and upper > nominal
    bounds = {name: down(bound, digits) for name, bound in attacks.items()}
    column = max(len("lower bound"), *(len(text) for text in bounds.values()))
    names = max(_LABEL - 2, *(len(name) for name in attacks))
    last = "  of the way from nominal to upper" if shares else ""
    lines = [f"{'attack':<{names}}  {'lower bound':>{column}}{last}"]
    for name, bound in attacks.items():
        share = f"  {percent(bound, nominal, upper):>8}" if shares else ""
        lines.append(f"{name:<{names}}  {bounds[name]:>{column}}{share}")
    return "\n".join(lines)


def solver_text(solver: SolverUse) -> str:
    """Which back-ends answered, which was asked for, and why."""
    used = ", ".join(f"{name} ({_count(n, 'solve')})" for name, n in solver.solves.items() if n)
    return f"{used or 'none was needed'}; asked for: {solver.asked}; {solver.why}".rstrip("; ")


def _work(result: VerificationResult) -> str:
    counts = result.statistics
    return (
        f"{_count(counts.rounds, 'round')}, {_count(counts.solves, 'solve')}, {_count(counts.nodes, 'node')}; "
        f"bisection for every sample and rival (40 steps) would take {_count(counts.naive_solves, 'solve')}"
    )


def _time(result: VerificationResult) -> str:
    spent = result.statistics
    parts = f"attack {spent.attack_seconds:.1f}, screening {spent.screen_seconds:.1f}"
    if spent.solves:
        parts += f", solvers {spent.solve_seconds:.1f} added over processes"
    return f"{spent.seconds:.1f} s ({parts}) with {_count(spent.jobs, 'process', 'es')}, device {spent.device}"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
