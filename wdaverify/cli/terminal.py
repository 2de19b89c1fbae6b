"""What is printed, and how: lines, notices, refusals and the line that follows a run."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from wdaverify.errors import OutputError

if TYPE_CHECKING:
    from wdaverify.wdro.progress import Report


@contextmanager
def live_line(quiet: bool) -> Iterator[Report | None]:
    """A line on stderr that follows the run, if stderr is a terminal; the place to send progress to."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from wdaverify.report.live import following

    with following() as follow:
        yield follow


def notes(notices: Sequence[str], quiet: bool) -> None:
    """Print notices, each once."""
    if not quiet:
        for notice in dict.fromkeys(notices):
            put(f"note: {one_line(notice)}", sys.stderr)


def say(text: str) -> None:
    """Print an answer."""
    put(text, sys.stdout)


def put(text: str, stream: TextIO | None) -> None:
    """Print; a reader who has gone away or a stream that was closed is no error, characters the terminal lacks are escaped."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if error.errno not in (errno.EPIPE, errno.EINVAL) and stream is sys.stdout:
            raise OutputError(f"cannot write to standard output: {(error.strerror or str(error)).lower()}") from error


def terminal_columns() -> int:
    """How wide the terminal is that an answer is printed to; very wide where it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):  # no standard output, no terminal, or closed
        return sys.maxsize


def one_line(message: str) -> str:
    """On one line, and without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))


def refusal(error: click.ClickException) -> str:
    """What click has to say, with the option's own name before it."""
    if isinstance(error, click.MissingParameter) or not isinstance(error, click.BadParameter) or error.param is None:
        return error.format_message()
    name = error.param.opts[-1] if isinstance(error.param, click.Option) else error.param.metavar
    return f"{name} {error.message}"
