"""From documents to a report: what asks the same question stands together, radius by radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from wdaverify.report.page import asked, batch, beside, bounds, check, distances, instances, lipschitz, radii, words
from wdaverify.report.page.content import Block, Cell, Column, Overview, Part, Question, Report, Table
from wdaverify.report.page.document import BATCHES, Document
from wdaverify.report.page.opening import opening
from wdaverify.report.page.pictures import check_shape, own_shape
from wdaverify.report.page.words import Json

Shape = tuple[int, ...] | None
_ORDER = ("compare", "verification", "curve", "attack", "distances", "lipschitz", "check")


def build(
    documents: Sequence[Document], shape: Shape = None, title: str | None = None, author: str | None = None
) -> Report:
    """The report of some documents.

    Raises:
        DocumentError: the image shape fits none of their networks.
    """
    single = [document for document in documents if document.kind not in BATCHES]
    batches = {f"b{k}": document for k, document in enumerate((d for d in documents if d.kind in BATCHES), 1)}
    rows = {key: batch.answers(document) for key, document in batches.items()}
    shapes = _shapes([*single, *(row for answered in rows.values() for row in answered.values())], shape)
    questions, about = _grouped(single, shapes)
    overviews, sections = list[Overview](), list[Question]()
    for key, document in batches.items():
        own = {k: _row(document, k, row, f"{key}-r{k + 1}", shapes) for k, row in rows[key].items()}
        overview = instances.overview if document.kind == "instances" else batch.overview
        overviews.append(overview(document, own, key))
        sections += own.values()
    nouns = {"batch": "row", "instances": "instance"}
    counts = [words.count(len(document.data["rows"]), nouns[document.kind]) for document in batches.values()]
    named = [f"A batch of {count}" for count in counts] + [about] * bool(about)
    return Report(
        title or ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else ""),
        _summary(questions),
        (*questions, *sections),
        tuple((name, *words.TRUST[name]) for name in words.TRUST),
        _sources(documents),
        _version(),
        _byline(documents, author),
        tuple(overviews),
    )


def _grouped(documents: Sequence[Document], shapes: dict[int, Shape]) -> tuple[tuple[Question, ...], str]:
    """What asks the same question stands together; and what all of it is about, "" for nothing."""
    groups: dict[str, list[Document]] = {}
    for document in documents:
        groups.setdefault(asked.same_question(document), []).append(document)
    questions = tuple(
        _question(sorted(group, key=lambda d: _ORDER.index(d.kind)), f"q{k}", shapes)
        for k, group in enumerate(groups.values(), 1)
    )
    if not questions:
        return (), ""
    names = list(dict.fromkeys(document.data["network"]["name"] for document in documents))
    about = f"{questions[0].heading} of" if len(questions) == 1 else f"{len(questions)} questions about"
    about += f" {names[0] if len(names) == 1 else f'{len(names)} networks'}"
    if len(names) > 1:
        name_of = {f"q{k}": group[0].data["network"]["name"] for k, group in enumerate(groups.values(), 1)}
        questions = tuple(replace(q, heading=f"{q.heading} of {name_of[q.key]}") for q in questions)
    return questions, about


def _row(document: Document, at: int, answered: Document, key: str, shapes: dict[int, Shape]) -> Question:
    """A row of a batch, as a report of its own answer would have it."""
    name = document.data["rows"][at]["name"]
    return replace(_question([answered], key, shapes), heading=batch.heading(name, answered), row=name)


def _shapes(documents: Sequence[Document], shape: Shape) -> dict[int, Shape]:
    """Of each number of inputs the image shape: the one that was given, which must fit at least one."""
    widths = list(dict.fromkeys(document.data["network"]["inputs"] for document in documents))
    if shape is None or not widths:
        return {}
    size = 1
    for length in shape:
        size *= length
    check_shape(shape, size if size in widths else widths[0])
    return {size: shape}


def _question(documents: Sequence[Document], key: str, shapes: dict[int, Shape]) -> Question:
    first = documents[0]
    network = first.data["network"]
    shape = shapes.get(network["inputs"]) or own_shape(network["input_shape"], network["inputs"])
    ladders = [ladder for document in documents if document.kind == "compare" for ladder in document.data["ladders"]]
    inner = [
        Document("verification", document.name, document.sha256, data)
        for document in documents
        if document.kind == "compare"
        for data in document.data["verifications"]
    ]
    runs = [*inner, *(document for document in documents if document.kind == "verification")]
    curves = [document for document in documents if document.kind == "curve"]
    blocks: list[Block] = radii.over_radii(curves, runs, ladders, key)
    known_rates = next((d.data for d in documents if d.kind == "compare"), None)
    parts = [*_by_radius(runs, ladders, key, shape, () if known_rates is None else beside.at_radii(known_rates))]
    for k, document in enumerate(documents):
        name = f"{key}-{document.kind}{k}"
        match document.kind:
            case "curve":
                parts.append(radii.curve_part(document, name))
            case "attack":
                parts.append(bounds.attack_part(document, name, shape))
            case "distances":
                parts.append(distances.distances_part(document, name, shape))
            case "check":
                parts.append(check.check_part(document, name, shape))
            case "lipschitz":
                parts.append(lipschitz.lipschitz_part(document, name))
    known = {ladder["radius"] for ladder in ladders} | {
        d.data["radius"] for d in (*runs, *documents) if "radius" in d.data
    }
    one = known.pop() if len(known) == 1 and not curves else None
    return Question(
        key,
        asked.heading(first),
        opening(documents, parts),
        asked.formula(first, one),
        asked.meaning(first),
        asked.facts(first),
        tuple(blocks),
        tuple(parts),
        tuple(asked.again(document) for document in documents if document.kind == "compare"),
    )


def _by_radius(
    runs: Sequence[Document], ladders: Sequence[Json], key: str, shape: Shape, lines: beside.Lines
) -> list[Part]:
    """A part for every verification, with the ladder at its radius; and for every ladder that none belongs to."""
    by_radius = {ladder["radius"]: ladder for ladder in ladders}
    known = {document.data["radius"] for document in runs}
    out: list[tuple[float, Part]] = []
    for k, document in enumerate(runs):
        radius = document.data["radius"]
        out.append((radius, bounds.verification_part(document, by_radius.get(radius), f"{key}-v{k}", shape)))
    for k, (radius, ladder) in enumerate(by_radius.items()):
        if radius not in known:
            out.append((radius, bounds.ladder_part(ladder, f"{key}-l{k}", lines)))
    return [part for _, part in sorted(out, key=lambda entry: entry[0])]


def _summary(questions: Sequence[Question]) -> Table:
    rows = []
    for question in questions:
        for part in question.parts:
            if part.answer is not None:
                shown = (part.answer.lower, part.answer.upper)
                ends = [Cell(text or "–", end) for text, end in zip(shown, part.answer.ends, strict=True)]
                names = (Cell(question.heading, question.heading), Cell(part.heading, part.heading))
                rows.append((*names, *ends, Cell(part.answer.word, part.answer.word)))
    columns = (Column("Question"), Column("Part"), Column("Lower", True), Column("Upper", True), Column("Answer"))
    return Table("answers", "The answers", columns, tuple(rows))


def _sources(documents: Sequence[Document]) -> Table:
    rows = tuple(
        (Cell(d.name or "this run", d.name), Cell(d.kind, d.kind), Cell(d.sha256 or "–", d.sha256)) for d in documents
    )
    columns = (Column("File"), Column("Kind"), Column("SHA-256"))
    return Table("sources", "The files that this report was made from", columns, rows)


def _byline(documents: Sequence[Document], author: str | None) -> str:
    """``2026-01-31 12:00 UTC``, or the first and the last such time; and the author."""
    inner = [
        row["result"] for d in documents if d.kind in BATCHES for row in d.data["rows"] if row["result"] is not None
    ]
    times = sorted({data["made"] for data in (*(d.data for d in documents), *inner) if "made" in data})
    shown = list(dict.fromkeys(f"{time[:10]} {time[11:16]} UTC" for time in times))
    made = " to ".join(dict.fromkeys((shown[0], shown[-1]))) if shown else ""
    return ", ".join(part for part in (author or "", made) if part)


def _version() -> str:
    try:
        return version("wdaverify")
    except PackageNotFoundError:
        return ""
