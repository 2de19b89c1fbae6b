"""Labels that are names: which class each stands for is the order in which its user names them, and is never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from wdaverify.errors import SamplesError
from wdaverify.untrusted import shown


def class_names(given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of classes in order, stripped; () for None.

    Raises:
        SamplesError: they are no names, or one is there twice.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not (isinstance(given, Sequence) and all(isinstance(name, str) for name in given)):
        raise SamplesError("classes are a list of names in the order of the outputs, as in ['cat', 'dog']")
    names = tuple(name.strip() for name in given)
    if not names or not all(names):
        raise SamplesError("a class without a name; names in the order of the outputs are accepted, as in cat,dog")
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise SamplesError(f"class {shown(repr(twice), 60)} is named twice; name every class once")
    return names


def class_of(cell: str, number: int, classes: tuple[str, ...]) -> float:
    """The number of the class that a cell names, on the line of that number.

    Raises:
        SamplesError: it names none.
    """
    try:
        return float(classes.index(cell.strip()))
    except ValueError:
        known = ", ".join(shown(name, 60) for name in classes[:12]) + (", ..." if len(classes) > 12 else "")
        raise SamplesError(
            f"line {number}: the label {shown(repr(cell.strip()), 60)} is none of the classes {known}; name every class that there is"
        ) from None
