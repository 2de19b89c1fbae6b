"""The ball that a question asks about: ``--radius`` with ``--order``, or ``--eps``, which is both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from wdaverify.cli.values import number


class BallCommand(click.Command):
    """A command whose ``--eps E`` is ``--radius E --order inf``; what it is called with knows only those two."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and put in the place of ``--eps`` what it means."""
        rest = super().parse_args(ctx, args)
        eps = ctx.params.pop("eps", None)
        if eps is not None:
            _refuse_twice(ctx)
            ctx.params |= {"radius": eps, "order": "inf"}
        if ctx.params["radius"] is None and ctx.params.get("radii") is None and not ctx.resilient_parsing:
            severally = " --radii X,X,... for several," if "radii" in ctx.params else ""
            raise click.UsageError(f"no radius is given: --radius X,{severally} or --eps E for order inf is accepted")
        return rest


def _refuse_twice(ctx: click.Context) -> None:
    """Refuse ``--eps`` beside what it would contradict, or say again."""
    for name in ("radius", "radii"):
        if ctx.params.get(name) is not None:
            raise click.UsageError(
                f"--eps and --{name} are two radii; --eps E is --radius E --order inf: give one of them"
            )
    if ctx.get_parameter_source("order") is not ParameterSource.DEFAULT and ctx.params["order"] != "inf":
        raise click.UsageError(
            f"--eps E is --radius E --order inf, and --order {ctx.params['order']} is another order; "
            f"say --radius E --order {ctx.params['order']}, or leave --order out"
        )


def eps() -> Callable[[Any], Any]:
    """``--eps`` of a command about a ball."""
    return click.option("--eps", type=number(0), metavar="E", help="Short for --radius E --order inf.")


def no_eps(instead: str) -> Callable[[Any], Any]:
    """``--eps`` of a command that asks about no single radius: refused, with what to ask ``instead``."""
    return refused("--eps", f"--eps E asks about one radius at order inf; {instead}")


def refused(name: str, why: str) -> Callable[[Any], Any]:
    """An option of other commands that would mean nothing here: refused in words of its own."""

    def refuse(_: click.Context, __: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise click.UsageError(why)

    return click.option(name, expose_value=False, hidden=True, callback=refuse, help="Not of this command.")
