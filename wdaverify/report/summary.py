"""Results as plain text, at most 100 columns wide.

A printed bound stays a bound: lower bounds are rounded down and upper bounds up at the digits shown, and enough
digits are shown to see the gap between them.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from wdaverify.network.model import Affine, Diagonal, ReluNetwork
from wdaverify.problem import Loss, Norm, WdroProblem
from wdaverify.wdro.result import Atom, AttackResult, Reason, Status, VerificationResult, Voucher
from wdaverify.witness.single import Flip

WIDTH = 100
_LABEL = 16

REASONS = {
    Reason.GAP_CLOSED: "the gap asked for is closed",
    Reason.THRESHOLD_DECIDED: "the threshold is decided, and that was the question",
    Reason.TIME_LIMIT: "the time limit was reached",
    Reason.INTERRUPTED: "interrupted",
    Reason.EXECUTOR_LOST: "what was to solve is gone",
    Reason.STALLED: "nothing is left to ask that would narrow the bracket (solver tolerances are reached)",
    Reason.UNBOUNDED: "the supremum is +inf",
    Reason.NUMERICAL: "a solver's bound contradicted a re-evaluated point by more than 1e-6",
}


IN_FLOAT32 = {
    Flip.ANY_ORDER: "in error too, whatever the order of summation",
    Flip.ORDERS_TRIED: "in error too, in every order of summation tried",
    Flip.BARELY: "barely in error",
    Flip.NO: "not in error",
}


def verification_summary(result: VerificationResult) -> str:
    """The question, the bracket with what shows it, the attacks beside it, and what it cost; ends without a newline."""
    places = decimals(result.gap)
    table = [
        ("answer", _answer(result)),
        ("lower", f"{rounded_down(result.lower, places)}   {_lower_voucher(result)}"),
        ("upper", f"{rounded_up(result.upper, places)}   {_upper_voucher(result)}"),
        ("gap", f"{upward(result.gap)}   (asked for: {result.gap_asked:g})"),
        ("nominal", rounded_down(result.nominal, places)),
        ("multiplier", _multiplier(result)),
        ("transport cost", _cost(result.transport_cost, result.problem.radius)),
    ]
    table += _in_float32(result.atoms)
    if result.threshold is not None:
        table.append(("threshold", f"V <= {result.threshold:.12g}: {threshold_decision(result)}"))
    return "\n\n".join(
        (
            question_text(result.problem),
            rows(table),
            _attack_table(result.attacks, result.nominal, result.upper, places),
            rows([("solver", _solver(result)), ("work", _work(result)), ("time", _time(result))]),
        )
    )


def attack_summary(result: AttackResult) -> str:
    """The question and the lower bounds found; ends without a newline."""
    places = 6
    best = max([result.nominal, *result.attacks.values()])
    facts = [
        ("answer", "lower bounds only" + ("" if result.finished else " (cut short by the time limit)")),
        ("lower", f"{rounded_down(best, places)}   re-evaluated here with outward rounding"),
        ("nominal", rounded_down(result.nominal, places)),
        ("transport cost", _cost(result.transport_cost, result.problem.radius)),
    ]
    facts += _in_float32(result.atoms)
    time = f"{result.seconds:.1f} s, {result.evaluations} evaluations, device {result.device}"
    table = _attack_table(result.attacks, result.nominal, math.inf, places)
    return "\n\n".join((question_text(result.problem), rows(facts), table, rows([("time", time)])))


def _in_float32(atoms: Sequence[Atom]) -> list[tuple[str, str]]:
    """How many of the errors (zero-one loss 1) among the atoms are errors in float32; nothing where there are none."""
    said = Counter(atom.float32 for atom in atoms if atom.float32 is not None)
    if not said:
        return []
    parts = [f"{said[flip]} {words}" for flip, words in IN_FLOAT32.items() if said[flip]]
    return [("float32", f"of {_count(said.total(), 'atom')} in error, in float32: {', '.join(parts)}")]


def network_summary(network: ReluNetwork) -> str:
    """The layers in the order of the file, the counts, the shapes and the hash; ends without a newline."""
    table = [
        ("network", network.name),
        ("layers", _layers(network)),
        ("ReLUs", str(network.n_relus)),
        ("parameters", str(network.n_parameters)),
        ("input shape", f"{_shape(network.input_shape)}, without the batch axis"),
        ("output shape", f"{_shape(network.output_shape)}, without the batch axis"),
        ("sha256", network.sha256),
        *(("note", notice) for notice in network.notices),
    ]
    return rows(table)


def threshold_decision(result: VerificationResult) -> str:
    """Whether ``V <= threshold``: "yes", "no" or "undecided", by the bracket alone."""
    if result.threshold is None:
        raise ValueError("no threshold was asked for")
    return decided(result.lower, result.upper, result.threshold)


def decided(lower: float, upper: float, threshold: float) -> str:
    """Whether ``V <= threshold``: "yes", "no" or "undecided", by a bracket."""
    if upper <= threshold:
        return "yes"
    return "no" if lower > threshold else "undecided"


def decimals(gap: float) -> int:
    """How many decimals show two digits of the gap: at least 6, at most 15."""
    if not (math.isfinite(gap) and gap > 0):
        return 6 if gap else 12
    return min(15, max(6, 1 - math.floor(math.log10(gap))))


def rounded_down(value: float, places: int) -> str:
    """The value rounded down at ``places`` decimals; where it is huge, at 16 digits."""
    return _rounded(value, places, ROUND_FLOOR)


def rounded_up(value: float, places: int) -> str:
    """The value rounded up at ``places`` decimals; where it is huge, at 16 digits."""
    return _rounded(value, places, ROUND_CEILING)


def _rounded(value: float, places: int, rounding: str) -> str:
    if not math.isfinite(value):
        return f"{float(value):g}"
    exact = Decimal(float(value))
    huge = abs(exact) >= Decimal(10) ** 15
    exponent = exact.adjusted() - 15 if huge else -places
    shown = exact.quantize(Decimal((0, (1,), exponent)), context=Context(prec=2000, rounding=rounding))
    if not shown:
        shown = abs(shown)
    return f"{shown:.15e}" if huge else f"{shown:f}"


def upward(value: float, digits: int = 2) -> str:
    """A quantity >= 0 at ``digits`` significant digits, its shortest round-trip form rounded up (0.05 stays 0.05)."""
    if value == 0 or not math.isfinite(value):
        return f"{float(value):g}"
    shown = Context(prec=digits, rounding=ROUND_CEILING).create_decimal(repr(float(value)))
    return f"{shown:.{digits - 1}e}" if abs(shown.adjusted()) > 4 else f"{shown:f}"


def rows(table: list[tuple[str, str]]) -> str:
    """Labels and texts in two columns, wrapped at the width."""
    return "\n".join(
        textwrap.fill(
            text, WIDTH, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL, break_on_hyphens=False
        )
        for label, text in table
    )


def question_text(problem: WdroProblem) -> str:
    """The question as a formula, with the names filled in."""
    cost, loss = problem.cost, problem.loss
    norm = {Norm.INF: "l-inf", Norm.ONE: "l1", Norm.TWO: "l2"}[cost.norm]
    meaning = MEANING[loss]
    ball = f"W_{cost.order}(Q, P) <= {problem.radius:.12g}"
    weighted = "" if cost.weights is None else ", features weighted"
    labels = f"labels move at {cost.label_cost:.6g}" if cost.moves_labels else "fixed labels"
    formula = f"V({problem.radius:.12g}) = sup {{ E_Q[{loss.value} loss] : Q on {_box(problem)}, {ball} }}"
    table = [
        ("question", formula),
        ("", f"order {cost.order}, ground cost {norm}{weighted} with {labels}; the loss is {meaning}"),
        ("network", f"{problem.network.name}: {_widths(problem.network)}, {_count(problem.network.n_relus, 'ReLU')}"),
        ("samples", f"{len(problem.samples)} from {problem.samples.source}"),
    ]
    return rows(table)


MEANING = {
    Loss.MARGIN: "max_(j != y) z_j - z_y",
    Loss.ZERO_ONE: "1 if max_(j != y) z_j >= z_y, else 0",
    Loss.HINGE: "max(0, 1 + max_(j != y) z_j - z_y)",
    Loss.CROSS_ENTROPY: "log sum_j exp(z_j - z_y)",
    Loss.DLR: "-(z_y - max_(j != y) z_j) / (z_pi1 - z_pi3)",
    Loss.LINEAR: "max_r F_r . z + b_r of the functionals given",
}


def _box(problem: WdroProblem) -> str:
    if not problem.support.bounded:
        return f"R^{problem.support.lower.size}"
    if not problem.support.plain:
        return f"a cut box in R^{problem.support.lower.size}"
    lower, upper = problem.support.lower, problem.support.upper
    if (lower == lower[0]).all() and (upper == upper[0]).all():
        return f"[{lower[0]:.6g}, {upper[0]:.6g}]^{lower.size}"
    return f"a box in R^{lower.size}"


def _widths(network: ReluNetwork) -> str:
    widths = [network.n_inputs, *(layer.weight.shape[0] for layer in network.layers if isinstance(layer, Affine))]
    return "-".join(str(width) for width in widths)


def _layers(network: ReluNetwork) -> str:
    names = []
    for layer in network.layers:
        if isinstance(layer, Affine):
            names.append("affine {1} -> {0}".format(*layer.weight.shape))
        else:
            names.append(f"diagonal {layer.factor.size}" if isinstance(layer, Diagonal) else "ReLU")
    return ", ".join(names) or "none"


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _answer(result: VerificationResult) -> str:
    word = "exact" if result.status is Status.EXACT else "bracket"
    return f"{word}: {result.detail or REASONS[result.reason]}"


_VOUCHERS = {
    Voucher.CHECKED: "re-evaluated here with outward rounding",
    Voucher.SOLVER: "on the solver's word",
    Voucher.PROVED: "by a proof that was checked",
}


def _lower_voucher(result: VerificationResult) -> str:
    if result.vouched_lower is Voucher.CHECKED and result.problem.loss is Loss.ZERO_ONE:
        return "each atom's loss decided here in exact arithmetic"
    return _VOUCHERS[result.vouched_lower]


def _upper_voucher(result: VerificationResult) -> str:
    """In words; where it rests on solvers, for how many of the samples."""
    words = _VOUCHERS[result.vouched_upper]
    trusted = Counter(bracket.vouched for bracket in result.per_sample)[Voucher.SOLVER]
    if result.vouched_upper is Voucher.SOLVER and trusted:
        words += f" for {trusted} of {_count(len(result.per_sample), 'sample')}"
    return words


def _multiplier(result: VerificationResult) -> str:
    return "none (at radius 0, V is the nominal loss)" if result.multiplier is None else f"{result.multiplier:.9g}"


def _cost(cost: float, radius: float) -> str:
    share = f" ({_percent(cost / radius)})" if radius > 0 else ""
    return f"{upward(cost, 9)} of the radius {radius:.12g}{share}"


def _percent(share: float) -> str:
    return f"{rounded_down(100 * share, 1)} %"


def _attack_table(attacks: dict[str, float], nominal: float, upper: float, places: int) -> str:
    """Name, lower bound, and the share of the way from the nominal loss to the upper bound where that is finite."""
    if not attacks:
        return "no attack was run"
    shares = math.isfinite(upper) and upper > nominal
    bounds = {name: rounded_down(bound, places) for name, bound in attacks.items()}
    width = max(len("lower bound"), *(len(text) for text in bounds.values()))
    names = max(_LABEL - 2, *(len(name) for name in attacks))
    last = "  of the way from nominal to upper" if shares else ""
    lines = [f"{'attack':<{names}}  {'lower bound':>{width}}{last}"]
    for name, bound in attacks.items():
        share = f"  {_percent((bound - nominal) / (upper - nominal)):>8}" if shares else ""
        lines.append(f"{name:<{names}}  {bounds[name]:>{width}}{share}")
    return "\n".join(lines)


def _solver(result: VerificationResult) -> str:
    used = ", ".join(f"{name} ({_count(n, 'solve')})" for name, n in result.solver.solves.items() if n)
    return f"{used or 'none was needed'}; asked for: {result.solver.asked}; {result.solver.why}".rstrip("; ")


def _work(result: VerificationResult) -> str:
    counts = result.statistics
    return (
        f"{_count(counts.rounds, 'round')}, {_count(counts.solves, 'solve')}, {_count(counts.nodes, 'node')}; "
        f"a naive loop would need {_count(counts.naive_solves, 'solve')} (samples x rivals x 40 bisection steps)"
    )


def _time(result: VerificationResult) -> str:
    spent = result.statistics
    parts = f"attack {spent.attack_seconds:.1f}, screening {spent.screen_seconds:.1f}"
    if spent.solves:
        parts += f", solvers {spent.solve_seconds:.1f} added over processes"
    return f"{spent.seconds:.1f} s ({parts}) with {_count(spent.jobs, 'process', 'es')}, device {spent.device}"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
