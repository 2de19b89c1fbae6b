"""What stands beside a bracket: what the radius limits, and the share of errors, which is another supremum or none."""

from __future__ import annotations

from wdaverify.report.error_rates import ErrorRates, radius_kind, radius_text, rates_label, rates_text
from wdaverify.report.page.document import number
from wdaverify.report.page.words import Json

Lines = tuple[tuple[str, str], ...]


def at_radius(data: Json) -> Lines:
    """Of an answer at one radius."""
    farthest = max((number(atom["distance"]) for atom in data["atoms"]), default=None)
    radius = radius_text(number(data["radius"]), number(data["order"]), farthest)
    return (("Radius", f"{radius}."), *errors(data))


def at_radii(data: Json) -> Lines:
    """Of answers at several radii."""
    return (("Radius", f"how far mass may move, {radius_kind(number(data['order']))}."), *errors(data))


def errors(data: Json) -> Lines:
    """The error rate; nothing where the document has none."""
    stated = data.get("error_rate")
    if stated is None:
        return ()
    loss = "specification" if data.get("specification") else data.get("loss", "")
    label = rates_label(loss).capitalize()
    return ((label, f"{rates_text(ErrorRates.read(stated), data.get('loss', ''))}."),)


def next_steps(ways: str, held: str = "") -> Lines:
    """What to do where a bracket is open, and which samples hold it open; nothing where nothing is to be done."""
    said = [f"{line[:1].upper()}{line[1:]}." for line in (ways, held) if line]
    return tuple(("Next" if k == 0 else "", line) for k, line in enumerate(said)) if ways else ()
