"""What a run writes to the logger ``wdaverify``: its question, its phases and rounds, what went wrong, and how it ended.

Nothing is printed: where the records go is for the program to say (``wdaverify --log FILE`` on the command line).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wdaverify.problem import WdroProblem

LOGGER = logging.getLogger(__name__)


def began(problem: WdroProblem, options: Any) -> None:
    """The question and how it is asked; ``options`` is a dataclass."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    network, samples, cost = problem.network, problem.samples, problem.cost
    LOGGER.info(
        "question: %s loss, radius %r, order %s, norm %s, label cost %r, %s, support %s",
        problem.loss.value,
        problem.radius,
        cost.order,
        cost.norm.value,
        cost.label_cost,
        "weighted features" if cost.weights is not None else "features alike",
        "bounded" if problem.support.bounded else "of the whole space",
    )
    LOGGER.info("network: %s, %d inputs, %d outputs, %d ReLUs, sha256 %s", *_numbers(problem), network.sha256)
    LOGGER.info("samples: %d from %s, sha256 %s", len(samples), samples.source, samples.sha256)
    LOGGER.info("options: %s", ", ".join(f"{name} {value}" for name, value in asdict(options).items()))


def _numbers(problem: WdroProblem) -> tuple[str, int, int, int]:
    network = problem.network
    return network.name, network.n_inputs, network.n_outputs, network.n_relus


def ended(
    what: str, reason: str, bracket: Sequence[float], solves: int, seconds: float, notices: Sequence[str]
) -> None:
    """How a run ended: every notice, then the reason and the bracket."""
    for notice in notices:
        LOGGER.warning("notice: %s", notice)
    lower, upper = bracket
    LOGGER.info("%s: %s, [%r, %r], %d solves, %.3f s", what, reason, float(lower), float(upper), solves, seconds)
