"""What is said of a certificate that was written: where it is, how large it is, and the line that rechecks it."""

from __future__ import annotations

import os
import shlex
import zipfile
from collections.abc import Sequence

from wdaverify.report.columns import columns
from wdaverify.report.summary import rows

_LABEL = 16
_COPIES, _USUAL = 3, 1e9
"""How much more than its arrays reading takes, and what ``recheck`` grants unless told otherwise, in bytes."""


def kept_text(path: str, content: str, question: Sequence[str]) -> str:
    """Two entries of a summary; ``question`` are the words of ``recheck`` but for the certificate's path and its memory."""
    command = ["wdaverify", "recheck", *question]
    taken = _COPIES * _unpacked(path)
    if taken > _USUAL:
        command += ["--memory-limit", str(int(taken / 1e6) + 1)]
    lines, room = [""], columns() - _LABEL - 4
    for word in map(shlex.quote, command):
        if lines[-1] and len(lines[-1]) + len(word) >= room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    size = f"{os.path.getsize(path) / 1e6:.3g} MB"
    spelled = f" \\\n{' ' * _LABEL}  ".join(lines)
    return rows([("certificate", f"{path}: {size}, {content}")]) + f"\n{'recheck':<{_LABEL}}{spelled}"


def _unpacked(path: str) -> int:
    """How many bytes its arrays take."""
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())
