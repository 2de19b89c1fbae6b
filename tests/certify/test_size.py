"""The checker is as long as docs/certificate.md says, and what rechecks a bracket is no longer than it was."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from certify.counted import CHECKER, by_module, code_lines

DOCS = Path(__file__).parents[2] / "docs" / "certificate.md"
ENDS = {"a bracket": "checker", "unsat": "unsat", "a Lipschitz constant": "slope_checker"}


@pytest.mark.parametrize("what", ENDS)
def test_lines_are_as_many_as_stated(what: str) -> None:
    """Of the modules that the checker of each kind imports; within a hundredth, so that small changes need no count."""
    code = f"import sys, wdaverify.certify.{ENDS[what]}; print(*(m for m in sys.modules if m.startswith('wdaverify.certify.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = sum(code_lines(CHECKER / f"{name.rsplit('.', 1)[1]}.py") for name in done.stdout.split())
    stated = re.search(rf"([\d,]+) lines of code for {re.escape(what)}\b", " ".join(DOCS.read_text().split()))
    assert stated is not None
    assert abs(found - int(stated[1].replace(",", ""))) <= 0.01 * found, (found, stated[1])


def test_docstrings_and_comments_are_no_code(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    text = ['"""One.', "", 'Two."""', "", "# three", "x = (  # four", "    1,", ")", "", "", "def f() -> str:"]
    path.write_text("\n".join([*text, '    """Five."""', '    return """', 'six"""', ""]))
    assert code_lines(path) == 3 + 1 + 2
    assert all(count > 0 for name, count in by_module().items() if name != "__init__")
