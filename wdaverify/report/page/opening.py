"""The three sentences that open a question: what was asked, what is guaranteed and what is not, for readers who do not program."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wdaverify.report.page import words
from wdaverify.report.page.content import Answer, Part
from wdaverify.report.page.document import Document, number, unbounded
from wdaverify.report.page.words import Json, plain

_QUANTITIES = {
    "margin": "lead of the strongest wrong answer",
    "zero-one": "share of wrong answers",
    "hinge": "hinge loss",
    "cross-entropy": "training loss (cross-entropy)",
    "dlr": "scaled lead of the strongest wrong answer (DLR)",
    "linear": "linear loss",
    "specification": "probability that the specification is violated",
}


def opening(documents: Sequence[Document], parts: Sequence[Part]) -> tuple[str, str, str]:
    """Of the documents that ask one question, and the parts that answer it."""
    first = documents[0]
    data = first.data
    if first.kind == "distances" and data.get("specification"):
        return (
            f"How far is each of {_samples(data)} from the nearest input at which {_network(data)} violates {_name(data)}?",
            "No input that is nearer to a sample than the lower figure in its row violates it; at the upper figure one is shown that does.",
            "Nothing is said of other samples, or of how likely such inputs are.",
        )
    if first.kind == "distances":
        return (
            f"How far is each of {_samples(data)} from the nearest input that {_network(data)} gets wrong?",
            "Every input that is nearer to a sample than the lower figure in its row is read rightly; at the upper figure a wrong "
            "one is shown.",
            "Nothing is said of other samples, or of how likely such inputs are.",
        )
    if first.kind == "check":
        return _of_specification(data)
    answer = parts[0].answer if len(parts) == 1 else None
    if first.kind == "lipschitz":
        return (
            f"How fast can the outputs of {_network(data)} change when its input changes a little?",
            _slope(answer),
            "Nothing is said of whether any answer is right, or of inputs outside the region that was asked about.",
        )
    return _asked(documents), _guaranteed(documents, answer), _not(data)


_VERDICTS = {
    "unsat": "No: it is proven that none does, in exact arithmetic on the numbers of the network as stored.",
    "sat": "Yes: one is shown, and {runtime} computes outputs of it that satisfy the specification, with no tolerance.",
    "sat-in-real-arithmetic": "Yes in exact arithmetic, proven: one is shown. No replay in single precision confirms it.",
    "unknown": "Neither was proven. No input comes closer to satisfying it than the upper end that is shown.",
    "timeout": "Neither was proven in the time. No input comes closer to satisfying it than the upper end that is shown.",
}


_IN_FLOAT32 = "No: it is proven that none does, whatever a runtime of single precision makes of the network, in whatever order it adds."
_VACUOUS = (
    "No, of whatever network: nothing satisfies the constraints of the specification, whose every disjunct contradicts itself (an empty "
    "box, or a false row of numbers alone). The network was not asked anything; look whether the file states what was meant."
)


def _of_specification(data: Json) -> tuple[str, str, str]:
    runtime = (data["counterexample"] or {}).get("runtime") or "a runtime"
    return (
        f"Does {_network(data)} have an input that satisfies the specification {data['specification']['name']}, which states what must not "
        "happen?",
        (
            _IN_FLOAT32
            if data["outcome"] == "unsat" and data.get("arithmetic") == "float32"
            else _VERDICTS[data["outcome"]]
        ).format(runtime=runtime)
        if data["specification"]["disjuncts"]
        else _VACUOUS,
        "Nothing is said of inputs outside the boxes of the specification, or of how likely such inputs are.",
    )


def _network(data: Json) -> str:
    return f"the network {data['network']['name']}"


def _name(data: Json) -> str:
    return f"the specification {data['specification']['name']}"


def _samples(data: Json) -> str:
    count = data["samples"]["count"]
    return f"the {count} samples" if count > 1 else "the one sample"


def _slope(answer: Answer | None) -> str:
    if answer is None or answer.upper is None or math.inf in answer.ends:
        return "Nowhere in the region do they change faster than the upper end that is shown, and somewhere at least as fast as the lower."
    return (
        f"Nowhere in the region do they change faster than {answer.upper} per unit of change of the input, and somewhere at least "
        f"as fast as {answer.lower}."
    )


def _asked(documents: Sequence[Document]) -> str:
    data = documents[0].data
    order = number(data["order"])
    each = "each of them by" if math.isinf(order) else "on average by"
    sizes = sorted({size for document in documents for size in _radii(document)})
    curve = any(document.kind == "curve" for document in documents)
    size = f"at most {' or '.join(plain(size) for size in sizes[:4])}"
    if curve or len(sizes) > 4:
        size = f"any amount up to {plain(sizes[-1])}"
    of = "" if number(data["label_cost"]) == math.inf else ", and may be labelled otherwise at a price"
    share = "" if data["loss"] == "zero-one" else "average "
    if data.get("specification"):
        return (
            f"How likely can it become that {_network(data)} violates {_name(data)} if {_samples(data)} are changed, {each} {size}, "
            f"measured as the {words.NORMS[data['norm']]}?"
        )
    return (
        f"How large can the {share}{_QUANTITIES[data['loss']]} of {_network(data)} become if {_samples(data)} are changed, {each} "
        f"{size}, measured as the {words.NORMS[data['norm']]}{of}?"
    )


def _radii(document: Document) -> list[float]:
    data = document.data
    if document.kind == "curve":
        return [number(data["max_radius"])]
    return [number(radius) for radius in (data["radii"] if document.kind == "compare" else [data["radius"]])]


def _guaranteed(documents: Sequence[Document], answer: Answer | None) -> str:
    kinds = {document.kind for document in documents}
    if kinds == {"attack"}:
        lower = "the value shown" if answer is None else answer.lower
        return f"It can become at least {lower}: a change that does so is shown."
    data = documents[0].data
    if "reason" in data and documents[0].kind == "verification" and unbounded(data) and answer is not None:
        return "It can become larger than any number, and that is proven."
    if answer is None or answer.lower is None or answer.upper is None:
        return "Below stand, for every size of change, a value that it never exceeds and one that it can reach."
    if answer.ends[1] == math.inf:
        return f"It can become at least {answer.lower}: a change that does so is shown. No limit is known yet."
    trust = ", on the word of a solver" if "solver" in (answer.vouched_lower, answer.vouched_upper) else ""
    return f"No such change makes it larger than {answer.upper}{trust}, and one is known that makes it {answer.lower}."


def _not(data: Json) -> str:
    single = (
        "" if math.isinf(number(data["order"])) else ", or of a single input, which may change by more than the average"
    )
    right = " A value below zero does not mean that every answer is right." if data["loss"] in ("margin", "dlr") else ""
    return f"Nothing is said of other samples or larger changes{single}.{right}"
