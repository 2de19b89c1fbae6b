"""The log of a command line: a file that gets what the logger ``wdaverify`` says, one line a record."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
from collections.abc import Sequence

from wdaverify.errors import OutputError

LEVELS = ("debug", "info", "warning")
_LOGGER = logging.getLogger("wdaverify")


class LogFile:
    """Records are appended to the file from ``__init__`` to ``close``; it begins with the version and the command line."""

    def __init__(self, path: str, level: str, arguments: Sequence[str]) -> None:
        """
        Raises:
            OutputError: the file cannot be written, or the command line names it elsewhere too.
        """
        from wdaverify.report.as_json import check_writable

        _refuse_twice(path, arguments)
        check_writable(path)
        try:
            self._handler = _Quiet(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
        self._handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._before = _LOGGER.level
        _LOGGER.addHandler(self._handler)
        _LOGGER.setLevel(level.upper())
        from wdaverify import __version__

        where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, process {os.getpid()}"
        _LOGGER.info("wdaverify %s, %s: wdaverify %s", __version__, where, shlex.join(arguments))

    def close(self, status: int | None) -> str | None:
        """End the file with the exit status; None: a defect, whose traceback is under way. Why records were lost, if any were."""
        if status is None:
            _LOGGER.critical("a defect of wdaverify ended the run", exc_info=True)
        else:
            _LOGGER.info("exit status %d", status)
        _LOGGER.removeHandler(self._handler)
        _LOGGER.setLevel(self._before)
        try:
            self._handler.close()
        except OSError as error:
            self._handler.lost = self._handler.lost or error
        lost = self._handler.lost
        return None if lost is None else f"the log lacks records ({lost.strerror or lost})"


class _Quiet(logging.FileHandler):
    """A record that cannot be written is no reason to stop or to print; it is remembered why."""

    lost: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name that logging gives it)
        """Keep the first reason."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            raise  # noqa: PLE0704 (called while an exception is handled)
        self.lost = self.lost or error


class _OneLine(logging.Formatter):
    """What comes from files stays on its line: unprintable characters of a message are escaped."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name that logging gives it)
        """The record's line."""
        line = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _refuse_twice(path: str, arguments: Sequence[str]) -> None:
    """Refuse a log that the command line names elsewhere too: an input, or another output."""
    values = [value for argument in arguments for value in (argument, argument.partition("=")[2]) if value]
    if sum(_same(value, path) for value in values) > 1:
        raise OutputError(f"--log {path} is an input or another output of this run; name another file")


def _same(a: str, b: str) -> bool:
    try:
        return os.path.realpath(a) == os.path.realpath(b) or os.path.samefile(a, b)
    except (OSError, ValueError):
        return False
