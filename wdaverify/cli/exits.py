"""Exit statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdaverify.wdro.result import Reason

DONE, REJECTED, REFUSED, LIMIT, DEFECT, INTERRUPTED = 0, 1, 2, 3, 70, 130
"""70 is sysexits' EX_SOFTWARE; Python's own status for a traceback is 1, which says that a certificate was rejected."""


def exit_status(done: bool, reason: Reason) -> int:
    """Of a run that is exact or decided, or ended for a reason with a bracket."""
    from wdaverify.wdro.result import Reason

    if done:
        return DONE
    return INTERRUPTED if reason is Reason.INTERRUPTED else LIMIT
