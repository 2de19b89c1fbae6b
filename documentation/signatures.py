"""Signatures as they are when wdaverify runs: the calls of ``wdaverify.doors`` take the keywords of others, which no text shows."""

from __future__ import annotations

import inspect
from typing import Any

import griffe

import wdaverify

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: griffe.ParameterKind.positional_only,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.VAR_POSITIONAL: griffe.ParameterKind.var_positional,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
    inspect.Parameter.VAR_KEYWORD: griffe.ParameterKind.var_keyword,
}


class Signatures(griffe.Extension):
    """Put the signatures of the doors in the place of ``**words``."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Of every function of wdaverify/doors/ask.py that is public."""
        if func.path.startswith("wdaverify.doors.ask.") and func.name in wdaverify.__all__:
            parameters = inspect.signature(getattr(wdaverify, func.name)).parameters.values()
            func.parameters = griffe.Parameters(*map(_parameter, parameters))


def _parameter(given: inspect.Parameter) -> griffe.Parameter:
    default = None if given.default is inspect.Parameter.empty else repr(given.default)
    annotation = None if given.annotation is inspect.Parameter.empty else str(given.annotation)
    return griffe.Parameter(given.name, annotation=annotation, kind=_KINDS[given.kind], default=default)
