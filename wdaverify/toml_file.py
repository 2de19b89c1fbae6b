"""TOML from strangers: bounded in size and nesting before it is parsed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from wdaverify.untrusted import UnreadableError, contents, shown

MAX_BYTES, MAX_DEPTH = 2**23, 8
"""Bytes of a file, and how deep its lists, tables and dotted names may be nested."""
_TEXT = re.compile(
    r"""
      "{3} (?: [^"\\] | \\. | "(?!"") )*+ (?: "{3,5} | \Z )
    | '{3} .*? (?: '{3,5} | \Z )
    | "  (?: [^"\\\n] | \\. )*+ "?+
    | '  [^'\n]*+ '?+
    | \# [^\n]*+
    """,
    re.VERBOSE | re.DOTALL,
)
"""Texts and comments, each consumed once whatever it holds; one without an end goes to the parser all the same."""
_MARK = re.compile(r"[\[\]{}]|(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){8,}+")
"""Brackets, and names of more than ``MAX_DEPTH`` parts."""


def read_toml(path: str | Path, accepted: str) -> dict[str, Any]:
    """The table of a file; ``accepted`` says what would be read.

    Raises:
        UnreadableError: it is no plain file of bounded size, or no TOML, or nested too deep.
    """
    return _parsed(contents(path, MAX_BYTES, accepted))


def _parsed(content: bytes) -> dict[str, Any]:
    """A TOML document whose nesting and dotted names are known to be shallow before it is parsed."""
    try:
        text = content.decode("utf-8-sig")
        depth = 0
        for mark in _MARK.finditer(_TEXT.sub(lambda token: "" if token[0][0] == "#" else "t", text)):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
            if depth > MAX_DEPTH or mark[0] not in "[]{}":
                raise UnreadableError(f"a name or a list is nested more than {MAX_DEPTH} deep; see docs/inputs.md")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnreadableError):
            raise
        why = shown(" ".join(str(error).split())) or type(error).__name__
        raise UnreadableError(f"the file cannot be read as TOML ({why})") from None
