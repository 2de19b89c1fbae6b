"""``wdaverify attack``."""

from __future__ import annotations

from typing import Any

from wdaverify.cli.ball import BallCommand
from wdaverify.cli.exits import DONE
from wdaverify.cli.files import check_image, files_of, hand_over, named, page_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import effort, image, page_file, question
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import time_left

_EFFORT = ("attacks", "powers", "steps", "restarts", "rivals", "budget")


@cli.command(cls=BallCommand, context_settings=CONTEXT)
@question()
@effort
@page_file("bounds")
@image
def attack(*, image_shape: tuple[int, ...] | None, **asked: Any) -> int:
    """Lower bounds only, by attacks.

    WDA at several m, WDA++, and the best mixture of all points that they visit.
    """
    page = page_target(asked, named(asked), image_shape)
    how = {name: value for name in _EFFORT if (value := asked.pop(name)) is not None}
    problem = problem_of(**asked)
    check_image(image_shape, problem)
    from wdaverify.report.as_json import attack_json
    from wdaverify.report.summary import attack_summary
    from wdaverify.wdro.attacking import attack as run

    limit = time_left(asked["time_limit"])
    result = run(problem, device=asked["device"], seed=asked["seed"], time_limit=limit, **how)
    hand_over(
        asked,
        problem,
        result.notices,
        lambda: attack_json(result, files_of(asked)),
        lambda: attack_summary(result),
        page,
    )
    return DONE
