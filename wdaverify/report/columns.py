"""How wide text is: as wide as whoever prints it says, 100 columns by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WIDTH, NARROWEST = 100, 60
"""The most columns of a line of words, and the fewest that are kept to; tables are as wide as their numbers."""
_COLUMNS: ContextVar[int] = ContextVar("columns", default=WIDTH)


def columns() -> int:
    """The columns of a line."""
    return _COLUMNS.get()


@contextmanager
def at_most(width: int) -> Iterator[None]:
    """Within the block lines are no wider, as far as 60 to 100 columns go."""
    before = _COLUMNS.set(min(WIDTH, max(NARROWEST, width)))
    try:
        yield
    finally:
        _COLUMNS.reset(before)
