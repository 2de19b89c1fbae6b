"""``wdaverify compare``."""

from __future__ import annotations

from typing import Any

import click

from wdaverify.cli.ball import BallCommand, eps
from wdaverify.cli.exits import INTERRUPTED, LIMIT, exit_status_of_all
from wdaverify.cli.files import check_image, check_target, files_of, hand_over, named, page_target, write_certificate
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import image, page_file, question, solving
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import bytes_of, engine_of
from wdaverify.cli.terminal import live_line
from wdaverify.cli.values import number
from wdaverify.errors import InputError


@cli.command(cls=BallCommand, context_settings=CONTEXT)
@question("radius", "eps")
@click.option("--radius", "radius", type=number(0), metavar="X", help="Radius of the Wasserstein ball.")
@click.option("--radii", metavar="X,X,...", help="Several radii, a ladder each.")
@eps()
@click.option("--rungs", metavar="NAME,...", help="These rungs only, or all but those behind a minus: -lipsdp,-lp.")
@click.option(
    "--rung-limit", type=number(0), metavar="S", default="60", help="Seconds for each certificate, and the attacks."
)
@solving
@page_file("ladder")
@image
def compare(
    *,
    radii: str | None,
    rungs: str | None,
    rung_limit: float,
    certificate: str | None,
    image_shape: tuple[int, ...] | None,
    **asked: Any,
) -> int:
    """Certificates and attacks beside the exact value.

    The ladder at one radius or several: every certificate above and every attack below the exact bracket, each with what it
    took and how far off it is. Rungs: norms, eclipse, lipsdp, jacobian, lipschitz, crown, lp, exact, asymptotic, first-order, attacks.
    """
    from wdaverify.ladder.compare import Settings
    from wdaverify.ladder.compare import compare as run
    from wdaverify.report.compare import compare_json, compare_summary

    every, chosen = _radii(asked["radius"], radii), _rungs(rungs)
    if "exact" not in chosen:
        _refuse_unused()
    if certificate is not None:
        if len(every) > 1:
            raise InputError(
                f"--certificate holds the proof of one radius, and {len(every)} are given; give one --radius"
            )
        check_target("--certificate", certificate, named(asked))
    page = page_target(asked, (*named(asked), certificate), image_shape)
    settings = Settings(
        rungs=chosen,
        rung_limit=rung_limit,
        device=asked["device"],
        threshold=asked["threshold"],
        mip_start=asked["mip_start"],
        certificate=certificate is not None,
        memory_limit=None if asked["memory_limit"] is None else bytes_of(asked["memory_limit"]),
        **engine_of(asked),
    )
    problem = problem_of(**{**asked, "radius": max(every)})
    check_image(image_shape, problem)
    with live_line(asked["quiet"]) as live:
        comparison = run(problem, every, settings, progress=live)
    result = comparison.ladders[0].result
    proof = certificate if result is not None and result.certificate is not None else None
    if proof is not None and result is not None:
        write_certificate(proof, result, asked)
    hand_over(
        asked,
        problem,
        comparison.notices,
        lambda: compare_json(comparison, files_of(asked, proof)),
        lambda: compare_summary(comparison),
        page,
    )
    if comparison.interrupted:
        return INTERRUPTED
    return LIMIT if comparison.cut else exit_status_of_all(comparison.runs)


def _radii(radius: float | None, radii: str | None) -> list[float]:
    """The radii of ``--radius`` or ``--radii``, in ascending order."""
    if radius is not None and radii is not None:
        raise InputError("--radius X and --radii X,X,... say radii twice; give one of them, not both")
    if radii is None:
        assert radius is not None
        return [radius]
    return sorted({number(0)(part.strip()) for part in radii.split(",")})


def _rungs(text: str | None) -> tuple[str, ...]:
    """The rungs of ``--rungs``."""
    from wdaverify.ladder.compare import NAMES

    if text is None:
        return tuple(NAMES)
    parts = [part.strip() for part in text.split(",")]
    named = {part.removeprefix("-") for part in parts}
    less = [part.startswith("-") for part in parts]
    if not named <= set(NAMES) or (any(less) and not all(less)):
        raise InputError(f"--rungs {text}: {', '.join(NAMES)} are accepted, or only names behind a minus")
    return tuple(name for name in NAMES if (name in named) != any(less))


def _refuse_unused() -> None:
    """Refuse options of the exact run where it is not among the rungs."""
    context = click.get_current_context()
    for name in ("solver", "threshold", "mip_start", "certificate", "memory_limit"):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise InputError(
                f"--{option} is for the exact run, and --rungs leaves it out; add exact, or leave --{option} out"
            )
