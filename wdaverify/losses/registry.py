"""Which losses there are; a loss of that name is described by the module of that name beside this one, read on first use.

So the names cost nothing: the command line has them before numpy is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from wdaverify.errors import ProblemError

if TYPE_CHECKING:
    from wdaverify.losses.rule import Rule


class Loss(StrEnum):
    """The loss of a labelled point; a rival is a class j != y (docs/theory.md, section 4).

    Names are taken in either case, with ``_`` for ``-``; ``01`` is zero-one, ``ce`` cross-entropy.
    """

    MARGIN = "margin"
    ZERO_ONE = "zero-one"
    HINGE = "hinge"
    CW = "cw"
    CROSS_ENTROPY = "cross-entropy"
    DLR = "dlr"
    LINEAR = "linear"
    SPECIFICATION = "specification"

    @property
    def rule(self) -> Rule:
        """What there is to know of the loss."""
        return _rule(self.value)

    @classmethod
    def of(cls, value: object) -> Loss:
        """The loss that is meant.

        Raises:
            ProblemError: there is no such loss.
        """
        name = value.lower().replace("_", "-") if isinstance(value, str) else ""
        for loss in cls:
            if name == loss.value or name in loss.rule.aliases:
                return loss
        from wdaverify.given import told

        raise ProblemError(f"loss {told(value)}: accepted are {', '.join(cls)}")

    _missing_ = of


@cache
def _rule(name: str) -> Rule:
    rule: Rule = import_module(f"wdaverify.losses.{name.replace('-', '_')}").RULE
    return rule


def those(which: Callable[[Rule], bool]) -> list[Loss]:
    """The losses of which something holds, those made of pieces first."""
    return sorted((loss for loss in Loss if which(loss.rule)), key=lambda loss: not loss.rule.by_pieces)


def in_words(losses: Sequence[Loss], last: str = "and") -> str:
    """``margin, hinge and zero-one``."""
    *first, end = losses
    return f"{', '.join(first)} {last} {end}" if first else end
