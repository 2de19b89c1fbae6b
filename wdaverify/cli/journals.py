"""``wdaverify status`` and ``wdaverify resume``: the last run of a folder."""

from __future__ import annotations

import os
import shlex
from contextlib import chdir

import click

from wdaverify.cli.exits import DONE
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.line import run
from wdaverify.cli.options import as_json, quiet
from wdaverify.cli.terminal import notes, say
from wdaverify.errors import InputError

_folder = click.argument("folder", metavar="DIR")


@cli.command(context_settings=CONTEXT)
@_folder
@as_json
def status(folder: str, as_json: bool) -> int:
    """Where the last run with --run DIR stands.

    Its bracket, progress and widest samples, and an estimate of what is left; the run may be at work or not.
    """
    from wdaverify.journal.state import read_state
    from wdaverify.report.as_json import dumps
    from wdaverify.report.journal import status_json, status_summary

    found = read_state(folder)
    say(dumps(status_json(found)).rstrip("\n") if as_json else status_summary(found))
    return DONE


@cli.command(context_settings=CONTEXT)
@_folder
@quiet
def resume(folder: str, quiet: bool) -> int:
    """Go on with the last run with --run DIR.

    Its command, which is shown first, is run again from where it ran; what is proven is not proven again. The answer is printed
    even if the run was begun with --quiet.
    """
    from wdaverify.journal.state import read_state, unchanged

    command = read_state(folder).command
    arguments = [*unchanged(command), "--run", os.path.abspath(folder)]
    notes([f"in {command['folder']}: wdaverify {shlex.join(arguments)}"], quiet)
    try:
        with chdir(command["folder"]):
            return run(arguments, quiet=quiet)
    except FileNotFoundError as error:
        raise InputError(f"the folder {command['folder']}, where the run was begun, is gone; make it again") from error
