"""The command line: the only package that prints or exits.

Exit status: 0 exact, or +inf and that is proven, or open by rounding in float32 alone, or the threshold is decided, or proved (recheck), or
sat or unsat (check), or done (attack, info);
1 a certificate was rejected; 2 the input was refused, with one line on stderr; 3 a limit was reached and the bracket stands;
4 the bracket is closed and does not decide the threshold; 5 sat in real arithmetic alone (check);
70 a defect of wdaverify ended the run; 130 interrupted, with the bracket so far written and printed.
"""

from __future__ import annotations

from wdaverify.cli import (
    attack,
    batch,
    check,
    compare,
    curve,
    distance,
    export,
    info,
    journals,
    lipschitz,
    recheck,
    report,
    verify,
)
from wdaverify.cli.group import cli
from wdaverify.cli.line import main
from wdaverify.cli.line import run as _run  # noqa: F401 (what tests call: it returns the status instead of exiting)

__all__ = [
    "attack",
    "batch",
    "check",
    "cli",
    "compare",
    "curve",
    "distance",
    "export",
    "info",
    "journals",
    "lipschitz",
    "main",
    "recheck",
    "report",
    "verify",
]
