"""Which loops run: those in C, or their twins in numpy."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from types import ModuleType

from wdaverify.errors import InputError

SWITCH = "WDAVERIFY_COMPILED"
"""The environment variable that decides: 0 numpy, 1 C or an error, without it C where it was built."""


@cache
def extension(name: str) -> ModuleType | None:
    """A module of loops in C; None where numpy is to run in its place.

    Raises:
        InputError: ``WDAVERIFY_COMPILED`` is 1 and the module was not built, or is something else.
    """
    wanted = os.environ.get(SWITCH, "")
    if wanted not in ("", "0", "1"):
        raise InputError(
            f"{SWITCH} is {wanted!r}: 0 (numpy) and 1 (C) are accepted, and without it C where it was built"
        )
    if wanted == "0":
        return None
    try:
        return import_module(f"wdaverify.compiled.{name}")
    except ImportError as error:
        if wanted == "1":
            raise InputError(
                f"{SWITCH} is 1, and the loops in C were not built ({error}): install with a C compiler and Python's headers at hand"
                " (Debian, Ubuntu: apt-get install gcc python3-dev), or leave the variable out for numpy"
            ) from None
        return None


def loops() -> str:
    """Which ones run here: ``C`` or ``numpy``."""
    return "numpy" if extension("steering") is None else "C"
