"""Exit statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdaverify.wdro.result import Reason

DONE, REJECTED, REFUSED, LIMIT, INTERRUPTED = 0, 1, 2, 3, 130


def exit_status(done: bool, reason: Reason) -> int:
    """Of a run that is exact or decided, or ended for a reason with a bracket; that V is +inf, proven, is an answer too."""
    from wdaverify.wdro.result import Reason

    if done or reason is Reason.UNBOUNDED:
        return DONE
    return INTERRUPTED if reason is Reason.INTERRUPTED else LIMIT
