"""The command line as a whole: its group of commands, and the log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from wdaverify.command_help import Commands

if TYPE_CHECKING:
    from wdaverify.log_file import LogFile


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
"""Of the group and of every command."""


@dataclass
class CommandLine:
    """What was typed, when (``time.monotonic``), and the log that it asked for; ``quiet``: whether to print, whatever was typed."""

    arguments: list[str]
    log: LogFile | None = None
    quiet: bool | None = None
    begun: float = field(default_factory=time.monotonic)


@click.group(cls=Commands, context_settings=CONTEXT, invoke_without_command=True)
@click.version_option(package_name="wdaverify", prog_name="wdaverify", message="%(prog)s %(version)s")
@click.option("--log", type=click.Path(readable=False), metavar="FILE", help="Append there what the run does.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", help="How much of it.")
@click.pass_context
def cli(ctx: click.Context, log: str | None, log_level: str) -> None:
    """Exact worst-case value of a ReLU network over a Wasserstein ball around its samples.

    NET.onnx is a classifier (or regressor) of Gemm, MatMul, Relu and the like. DATA is an .npz with points x and labels y,
    or a .csv with the label in its last column. The answer is a bracket [lower, upper] that holds the worst expected loss
    over all distributions within the radius, and who vouches for each side.

    \b
    First steps:
      wdaverify info net.onnx                             what the file holds
      wdaverify attack net.onnx data.npz --radius 0.05    quick lower bounds
      wdaverify verify net.onnx data.npz --radius 0.05    the exact value
      wdaverify check net.onnx spec.vnnlib                sat or unsat
      wdaverify --log run.log verify net.onnx data.npz --radius 0.05

    Each command explains itself: wdaverify verify --help.

    Exit status: 0 done (+inf, where that is proven, is an answer); 1 a certificate was rejected; 2 the input was refused,
    with one line that says why; 3 a limit was reached and the bracket stands; 4 the bracket is closed and the threshold lies
    in it; 5 sat in real arithmetic alone (check); 70 a defect of wdaverify ended the run, which says nothing of the input;
    130 interrupted, with the bracket so far.
    """
    if ctx.invoked_subcommand is None:
        raise click.UsageError(
            "no command was given: verify, batch, curve, distance, attack, compare, lipschitz, check, export, report, recheck, status, "
            "resume and info are accepted; see wdaverify --help"
        )
    if log is not None:
        from wdaverify.log_file import LogFile

        line: CommandLine = ctx.obj
        line.log = LogFile(log, log_level, line.arguments)
