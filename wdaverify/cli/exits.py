"""Exit statuses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdaverify.checking.result import CheckResult
    from wdaverify.wdro.result import Reason, VerificationResult

DONE, REJECTED, REFUSED, LIMIT, UNDECIDED, IN_REALS, DEFECT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130
"""70 is sysexits' EX_SOFTWARE; Python's own status for a traceback is 1, which says that a certificate was rejected."""


def exit_status(done: bool, reason: Reason, *, lacking: bool = False) -> int:
    """Of a run that has the answer asked for, or ended for a reason with a bracket.

    ``lacking``: there is no certificate, and one was asked for.
    """
    from wdaverify.wdro.result import Reason

    if done and not (lacking and reason is Reason.INTERRUPTED):
        return DONE
    return {Reason.INTERRUPTED: INTERRUPTED, Reason.THRESHOLD_UNDECIDED: UNDECIDED, Reason.ROUNDING: UNDECIDED}.get(
        reason, LIMIT
    )


def exit_status_of_all(results: Iterable[VerificationResult | None]) -> int:
    """Of several exact runs: undecided where that is all that any of them lacks; None stands for one without a result."""
    from wdaverify.wdro.result import Reason

    lacking = {None if result is None else result.reason for result in results if result is None or not result.answered}
    return DONE if not lacking else UNDECIDED if lacking <= {Reason.THRESHOLD_UNDECIDED, Reason.ROUNDING} else LIMIT


def check_status(result: CheckResult) -> int:
    """Of the answer to a specification."""
    from wdaverify.checking.result import Ended, Outcome

    if result.outcome is Outcome.SAT_IN_REALS:
        return IN_REALS
    if result.decided:
        return DONE
    return INTERRUPTED if result.ended is Ended.INTERRUPTED else LIMIT
