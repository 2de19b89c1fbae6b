"""One command line from its words to its exit status."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import TextIO

import click

from wdaverify.cli.exits import DEFECT, DONE, INTERRUPTED, REFUSED
from wdaverify.cli.group import CommandLine, cli
from wdaverify.cli.terminal import notes, one_line, put, refusal, terminal_columns
from wdaverify.cli.values import SUPPORTS
from wdaverify.errors import InputError, WdaverifyError
from wdaverify.report.columns import at_most

_LOADING = 0.05
"""Seconds between two looks at whether a module is still being imported."""


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """The line as click takes it.

    ``--support none`` (or ``specification``) as the two values that the option takes,
    ``--image-shape H W [C]`` as one, the log's options in front.
    """
    out: list[str] = []
    front: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument in ("--log", "--log-level"):
            front += [argument, *(value for value in [next(waiting, None)] if value is not None)]
        elif argument.startswith(("--log=", "--log-level=")):
            front.append(argument)
        elif out and argument.isdecimal() and out[-2:-1] == ["--image-shape"] and len(out[-1].split()) < 3:
            out[-1] += f" {argument}"
        else:
            out.append(argument)
    for k in range(len(out) - 1, 0, -1):
        if out[k] in SUPPORTS and out[k - 1] == "--support" and out[k + 1 : k + 2] != [out[k]]:
            out.insert(k, out[k])
    return front + out


def run(arguments: Sequence[str] | None, quiet: bool | None = None) -> int:
    """The exit status of one command line; the log, where one was asked for, ends with it.

    ``quiet`` says whether it prints, whatever the arguments say; None: as they say.
    """
    line = CommandLine(list(sys.argv[1:] if arguments is None else arguments), quiet=quiet)
    status: int | None = None
    try:
        with at_most(terminal_columns()):
            status = _status(line)
    finally:
        lost = None if line.log is None else line.log.close(status)
    if lost is not None:
        notes([lost], quiet=False)
    return status


def _status(line: CommandLine) -> int:
    try:
        spelled = spelled_out(line.arguments)
        return int(cli.main(spelled, prog_name="wdaverify", standalone_mode=False, obj=line) or DONE)
    except click.ClickException as error:
        message = refusal(error)
    except click.Abort:
        put("wdaverify: interrupted before there was an answer", sys.stderr)
        return INTERRUPTED
    except (InputError, WdaverifyError) as error:
        message = str(error)
    logging.getLogger(__package__).error("refused: %s", message)
    put(f"wdaverify: error: {one_line(message)}", sys.stderr)
    return REFUSED


def _terminated(number: int, frame: FrameType | None) -> None:
    """A polite request to end is an interrupt: the bracket so far is written and printed."""
    _once_loaded(number, frame)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """The first Ctrl-C ends the run with the bracket so far, the second ends the process at once."""
    signal.signal(signal.SIGINT, _stopped)
    _once_loaded(number, frame)


def _once_loaded(_number: int, frame: FrameType | None) -> None:
    """Interrupt, but not while a module is being imported: a native library that is interrupted as it loads may abort the process."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is None or not hasattr(signal, "setitimer"):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, _once_loaded)
    signal.setitimer(signal.ITIMER_REAL, _LOADING)


def _stopped(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"wdaverify: interrupted twice: ended at once, without an answer\n")
    os._exit(INTERRUPTED)


def _logged(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning that a library raises is for the log, not for the terminal."""
    logging.getLogger(__package__).warning("%s: %s (%s, line %d)", category.__name__, message, filename, lineno)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; a defect is one line and a status of its own."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, _interrupted)
    warnings.showwarning = _logged
    try:
        status = run(arguments)
    except Exception as error:  # noqa: BLE001  the last resort: no defect may pass for a rejected certificate
        what = one_line(f"{type(error).__name__}: {error}")
        put(
            f"wdaverify: internal error: {what}; this is a defect of wdaverify, and says nothing of the input: run it again with "
            "--log FILE in front for the traceback, and report it",
            sys.stderr,
        )
        status = DEFECT
    # Where Ctrl-C met code that somebody had made by exec (dataclasses, while torch is imported), CPython ends the process as killed
    # by it though it was caught and the answer printed; the next exec forgets that.
    exec("")
    sys.exit(status)
