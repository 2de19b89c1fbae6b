"""TOML from strangers: bounded in size and nesting before it is parsed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from wdaverify.untrusted import UnreadableError, contents, shown

MAX_BYTES, MAX_DEPTH = 2**23, 8
"""Bytes of a file, and how deep its lists, tables and dotted names may be nested."""
_MARK = re.compile(r"[\[\]{}.=,\n#\"']")
"""What nests, what ends a name, and where a text or a comment begins."""


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
        if _deep(text):
            raise UnreadableError(f"a name or a list is nested more than {MAX_DEPTH} deep; see docs/inputs.md")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnreadableError):
            raise
        why = shown(" ".join(str(error).split())) or type(error).__name__
        raise UnreadableError(f"the file cannot be read as TOML ({why})") from None


def _deep(text: str) -> bool:
    """Whether lists and tables are nested, or a name is dotted, more than ``MAX_DEPTH`` deep; texts and comments count for nothing."""
    depth = dots = at = 0
    while mark := _MARK.search(text, at):
        at, found = mark.end(), mark[0]
        if found in "\"'":
            at = _behind(text, mark.start(), found)
        elif found == "#":
            at = _or_end(text, text.find("\n", at))
        elif found == ".":
            dots += 1
        else:
            dots, depth = 0, depth + {"[": 1, "{": 1, "]": -1, "}": -1}.get(found, 0)
        if depth > MAX_DEPTH or dots >= MAX_DEPTH:
            return True
    return False


def _behind(text: str, begin: int, quote: str) -> int:
    """Where a text in quotes ends; one on a line that has no other end ends with the line, and is the parser's to refuse."""
    long = text.startswith(3 * quote, begin)
    mark = 3 * quote if long else quote
    line = len(text) if long else _or_end(text, text.find("\n", begin))
    at = begin + len(mark)
    while (end := text.find(mark, at, line)) >= 0:
        before = text[at:end]
        if quote == "'" or (len(before) - len(before.rstrip("\\"))) % 2 == 0:
            more = text[end + 3 : end + 5] if long else ""
            return end + len(mark) + len(more) - len(more.lstrip(quote))
        at = end + 1
    return line


def _or_end(text: str, at: int) -> int:
    return len(text) if at < 0 else at
