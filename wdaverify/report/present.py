"""What ``wdaverify.shown`` looks up: each kind of result with its document and its text, and what is made of the document."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wdaverify.checking.result import CheckResult
from wdaverify.errors import DocumentError, OutputError, ProblemError
from wdaverify.given import instance, listed, path_of, told, whole
from wdaverify.ladder.rung import Comparison
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.report import as_json, check, compare, curve, distances, lipschitz, summary
from wdaverify.report.as_json import Json
from wdaverify.wdro.curve import CurveResult
from wdaverify.wdro.distances import DistancesResult
from wdaverify.wdro.result import AttackResult, VerificationResult
from wdaverify.writing import check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

    from wdaverify.report.page.content import Answer, Figure, Report


@dataclass(frozen=True)
class _Kind:
    document: Callable[[Any], Json]
    text: Callable[[Any], str]


_KINDS: dict[type, _Kind] = {
    VerificationResult: _Kind(as_json.verification_json, summary.verification_summary),
    AttackResult: _Kind(as_json.attack_json, summary.attack_summary),
    CurveResult: _Kind(curve.curve_json, curve.curve_summary),
    DistancesResult: _Kind(distances.distances_json, distances.distances_summary),
    Comparison: _Kind(compare.compare_json, compare.compare_summary),
    LipschitzResult: _Kind(lipschitz.lipschitz_json, lipschitz.lipschitz_summary),
    CheckResult: _Kind(check.check_json, check.check_summary),
}


def _kind(result: object) -> _Kind:
    """How a result is shown.

    Raises:
        ProblemError: it is none.
    """
    found = _KINDS.get(type(result))
    if found is None:
        raise ProblemError(
            f"result {told(result)}: what worst_case, curve, distances, compare, attack, lipschitz and check return is accepted"
        )
    return found


def document(result: object) -> Json:
    """The document of a result."""
    return _kind(result).document(result)


def summary_of(result: object) -> str:
    """The text of a result."""
    return _kind(result).text(result)


def text(result: Any) -> str:
    """What the command line prints: what was taken otherwise than written, then the answer."""
    notes = [f"note: {' '.join(notice.split())}" for notice in dict.fromkeys(result.notices)]
    return "\n".join([*notes, summary_of(result)])


def text_of_document(data: Json) -> str:
    """A document as JSON."""
    return as_json.dumps(data)


def save(result: object, path: str | os.PathLike[str]) -> None:
    """Write the document of a result."""
    as_json.write(path_of("the result's file", path, OutputError), document(result))


def save_page(
    results: Sequence[object],
    path: str | os.PathLike[str],
    image_shape: tuple[int, ...] | None,
    title: str | None,
    author: str | None,
) -> None:
    """Write the page of results, or print it where the suffix is ``.pdf``."""
    from wdaverify.report.page.document import as_document
    from wdaverify.report.page.output import write_report
    from wdaverify.report.page.paper import check_page
    from wdaverify.report.page.view import build

    for name, text in (("title", title), ("author", author)):
        if text is not None:
            instance(name, text, str, "leave it out, or give a text")
    if image_shape is not None:
        sides = listed("image_shape", image_shape, "(H, W) or (H, W, C)")
        image_shape = tuple(whole("image_shape", side, "a whole number >= 1", lambda n: n >= 1) for side in sides)
    target = path_of("the report's file", path, OutputError)
    check_writable(target)
    check_page("the report's file", target)
    write_report(target, build([as_document(document(one)) for one in results], image_shape, title, author))


def plot(result: object) -> Drawn:
    """The first figure of the page."""
    import matplotlib

    from wdaverify.report.page.ink import PAPER, STYLE

    if "IPython" in sys.modules:
        import matplotlib.pyplot

        if "inline" in matplotlib.get_backend().lower():  # whose import teaches IPython to show figures
            import_module("matplotlib_inline.backend_inline")
    figure = _figure(_page(result))
    if figure is None:
        raise DocumentError("there is nothing to draw: the result has no finite bounds, or no figure of its own")
    with matplotlib.rc_context(STYLE):
        return figure.draw(PAPER)


def _page(result: object) -> Report:
    from wdaverify.report.page.document import as_document
    from wdaverify.report.page.view import build

    return build([as_document(document(result))])


def _figure(page: Report) -> Figure | None:
    return next(iter(page.figures()), None)


def snippet(result: Any) -> str:
    """What a notebook shows: the question, the bracket with its reason and vouchers, the main figure."""
    from wdaverify.report.page.ink import figure_file

    page = _page(result)
    question = page.questions[0]
    marks = {"text": "{}", "sub": "<sub>{}</sub>", "sup": "<sup>{}</sup>"}
    formula = "".join(marks[kind].format(escape(text)) for kind, text in question.formula)
    parts = [f"<div><b>{escape(question.heading)}</b> &nbsp; {formula}</div>"]
    parts.append(f"<div>{escape(_about(result))}</div>")
    parts += [_answer(part.answer, len(question.parts) > 1) for part in question.parts if part.answer is not None]
    parts += [f"<div><i>note: {escape(notice)}</i></div>" for notice in dict.fromkeys(result.notices)]
    figure = _figure(page)
    if figure is not None:
        image = base64.b64encode(figure_file(figure.draw, "svg")).decode("ascii")
        parts.append(
            f'<img alt="{escape(figure.description, quote=True)}" style="background:#fff;width:40em;max-width:100%" '
            f'src="data:image/svg+xml;base64,{image}"/>'
        )
    return f'<div style="max-width:48em">{"".join(parts)}</div>'


def _about(result: Any) -> str:
    """The network, and the samples where there are some."""
    if isinstance(result, CheckResult):
        return f"{repr(result.network)[1:-1]}; {result.specification!r}"
    problem = result.problem
    samples = getattr(problem, "samples", None)
    return repr(problem.network)[1:-1] + ("" if samples is None else f"; {repr(samples)[1:-1]}")


def _answer(answer: Answer, named: bool) -> str:
    """A bracket as a small table, under what it bounds where there are several."""
    rows = [("answer", f"{answer.word}: {answer.reason}")]
    rows += [("lower", f"{answer.lower}  ({answer.vouched_lower})")] if answer.lower is not None else []
    rows += [("upper", f"{answer.upper}  ({answer.vouched_upper})")] if answer.upper is not None else []
    rows += [("gap", answer.gap)]
    cells = "".join(
        f'<tr><td style="text-align:left"><b>{escape(name)}</b></td><td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows
    )
    caption = f'<caption style="text-align:left">{escape(answer.quantity)}</caption>' if named else ""
    return f"<table>{caption}{cells}</table>"
