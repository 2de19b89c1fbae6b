"""What stands beside a bracket: what the radius limits, and the share of errors, which is another supremum or none."""

from __future__ import annotations

from wdaverify.report.error_rates import ErrorRates, radius_kind, radius_text, rates_label, rates_text
from wdaverify.report.page.document import number
from wdaverify.report.page.words import Json
from wdaverify.report.summary import deployed_rows
from wdaverify.wdro.result import Deployed, Replay

Lines = tuple[tuple[str, str], ...]


def at_radius(data: Json) -> Lines:
    """Of an answer at one radius."""
    farthest = max((number(atom["distance"]) for atom in data["atoms"]), default=None)
    radius = radius_text(number(data["radius"]), number(data["order"]), farthest)
    return (("Radius", f"{radius}."), *errors(data), *rounding(data))


def at_radii(data: Json) -> Lines:
    """Of answers at several radii."""
    return (("Radius", f"how far mass may move, {radius_kind(number(data['order']))}."), *errors(data), *rounding(data))


def errors(data: Json) -> Lines:
    """The error rate; nothing where the document has none."""
    stated = data.get("error_rate")
    if stated is None:
        return ()
    loss = "specification" if data.get("specification") else data.get("loss", "")
    label = rates_label(loss).capitalize()
    return ((label, f"{rates_text(ErrorRates.read(stated), data.get('loss', ''))}."),)


def rounding(data: Json) -> Lines:
    """What float32 added, and what one runtime made of the atoms; nothing in real arithmetic."""
    found = data.get("float32")
    return (
        ()
        if found is None
        else tuple((label.capitalize(), f"{text}.") for label, text in deployed_rows(_deployed(found)))
    )


def _deployed(found: Json) -> Deployed:
    replay, real = found["replay"], found["real"]
    if replay is not None:
        replay = Replay(replay["runtime"], replay["atoms"], replay["within"], number(replay["farthest"]))
    lower, upper = (None if real[side] is None else number(real[side]) for side in ("lower", "upper"))
    return Deployed(number(found["above"]), number(found["below"]), lower, upper, replay)


def next_steps(ways: str, held: str = "") -> Lines:
    """What to do where a bracket is open, and which samples hold it open; nothing where nothing is to be done."""
    said = [f"{line[:1].upper()}{line[1:]}." for line in (ways, held) if line]
    return tuple(("Next" if k == 0 else "", line) for k, line in enumerate(said)) if ways else ()
