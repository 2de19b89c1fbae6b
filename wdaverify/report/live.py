"""A line that follows a run while it works: in a terminal, or in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wdaverify.digits import down, places, up, width

if TYPE_CHECKING:
    from rich.console import Console

    from wdaverify.wdro.progress import Progress, Report


@contextmanager
def following(console: Console | None = None) -> Iterator[Report]:
    """The place to send progress to: a line on the console (stderr by default; in a notebook, under the cell), gone when done."""
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    console = Console(stderr=True) if console is None else console
    with Bar(SpinnerColumn(), TimeElapsedColumn(), text, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda progress: bar.update(task, description=progress_text(progress))


def progress_text(progress: Progress) -> str:
    """The bracket and how far the run is, on one line."""
    lower, upper = progress.lower, progress.upper
    digits = places(lower, upper)
    return (
        f"{progress.phase}  [{down(lower, digits)}, {up(upper, digits)}]  gap {width(lower, upper)}  "
        f"round {progress.round}  solves {progress.solves}  open {progress.open_samples}"
    )
