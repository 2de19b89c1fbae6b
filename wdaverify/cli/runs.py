"""What an exact run needs besides its question: processes or a cluster, a journal, a line that follows it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wdaverify.cli.group import CommandLine
from wdaverify.cores import cores
from wdaverify.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from wdaverify.journal.store import Journal
    from wdaverify.problem import WdroProblem
    from wdaverify.wdro.progress import Report
    from wdaverify.wdro.result import VerificationResult

    Lent = tuple[Executor | None, Callable[[], int] | None]


@contextmanager
def cluster(address: str | None) -> Iterator[Lent]:
    """The executor of --scheduler."""
    if address is None:
        yield None, None
        return
    from wdaverify.wdro.cluster import cluster as lent_by

    with lent_by(address) as lent:
        yield lent


@contextmanager
def journal_for(folder: str | None, question: dict[str, Any]) -> Iterator[Journal | None]:
    """The journal of --run for one question."""
    names = ("network_path", "data_path", "cost_weights", "functionals", "specification", "support_file")
    with journal_of(folder, [question[name] for name in names if question.get(name) is not None]) as journal:
        yield journal


@contextmanager
def journal_of(folder: str | None, paths: list[str]) -> Iterator[Journal | None]:
    """The journal of --run, with the command that resume runs again and the files that it reads."""
    if folder is None:
        yield None
        return
    from wdaverify.journal.state import command_of
    from wdaverify.journal.store import Journal

    with Journal(folder) as journal:
        line: CommandLine = click.get_current_context().find_root().obj
        journal.begin(command_of(line.arguments, "--run", os.getcwd(), paths))
        yield journal


def check_cluster(address: str | None, asked: dict[str, Any]) -> None:
    """Refuse options about processes of our own where there are none."""
    if address is not None and (asked["jobs"] is not None or asked["memory_limit"] is not None):
        raise InputError(
            "--jobs and --memory-limit are about processes of our own, and a --scheduler has its own; leave them out"
        )


def engine_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What every exact run is told: who solves, how exactly, how long, with how many processes, from which seed."""
    named = {name: asked[name] for name in ("solver", "gap", "seed")}
    return {**named, "time_limit": time_left(asked["time_limit"]), "jobs": asked["jobs"] or cores()}


def time_left(limit: float | None) -> float | None:
    """What is left of ``--time-limit``, which counts from the beginning of the command line (a batch's row: of the row)."""
    line = click.get_current_context().find_root().obj
    if limit is None or not isinstance(line, CommandLine):
        return limit
    return max(0.0, limit - (time.monotonic() - line.begun))


def bytes_of(megabytes: float) -> float:
    """``--memory-limit`` in bytes, at most more than any machine has."""
    return min(1e6 * megabytes, 2.0**62)


def exact_run(
    problem: WdroProblem,
    asked: dict[str, Any],
    *,
    certificate: bool,
    live: Report | None,
    journal: Journal | None,
    lent: Lent,
) -> VerificationResult:
    """The answer to ``verify``'s question with what was asked of it."""
    from wdaverify.wdro.verify import verify

    executor, slots = lent
    return verify(
        problem,
        **engine_of(asked),
        executor=executor,
        slots=slots,
        threshold=asked["threshold"],
        device=asked["device"],
        mip_start=asked["mip_start"],
        certificate=certificate,
        memory_limit=None if asked["memory_limit"] is None else bytes_of(asked["memory_limit"]),
        progress=live,
        journal=journal,
    )
