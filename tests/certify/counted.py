"""Lines of code: those with a token that is neither a comment nor part of a docstring."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

CHECKER = Path(__file__).parents[2] / "wdaverify" / "certify"
_NOTHING = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(path: Path) -> int:
    """How many lines of a module are code."""
    text = path.read_text()
    prose = set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NOTHING:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - prose)


def by_module() -> dict[str, int]:
    """Of every module of the checker."""
    return {path.stem: code_lines(path) for path in sorted(CHECKER.glob("*.py"))}
