"""``wdaverify export``."""

from __future__ import annotations

from typing import Any

import click

from wdaverify.cli.ball import BallCommand
from wdaverify.cli.exits import DONE
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import question
from wdaverify.cli.questions import problem_of
from wdaverify.cli.terminal import notes, say
from wdaverify.cli.values import number


@cli.command(cls=BallCommand, context_settings=CONTEXT)
@question("time-limit", "output")
@click.option("--to", "folder", metavar="DIR", required=True, help="A new folder, or an empty one.")
@click.option("--multiplier", type=number(0), metavar="LAM", help="Price of the distance; default the attacks' best.")
def export(*, folder: str, multiplier: float | None, **asked: Any) -> int:
    """Write the questions as MPS and LP files.

    One mixed-integer program for each sample and piece of its loss, with a start and what its optimum means, so that any other
    solver can be asked.
    """
    problem = problem_of(**asked, output=None, time_limit=None)
    from wdaverify.report.programs import check_folder, write_programs
    from wdaverify.wdro.programs import programs

    check_folder(folder)
    made = programs(problem, multiplier=multiplier, device=asked["device"], seed=asked["seed"])
    write_programs(made, folder)
    if not asked["quiet"]:
        notes(problem.network.notices, quiet=False)
        say(f"{len(made.programs)} programs in {folder}; README.md there says what their optima mean")
    return DONE
