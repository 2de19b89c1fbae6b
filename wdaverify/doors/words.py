"""One call takes the keywords of several: those that make the question and those that say how it is answered."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from multiprocessing import current_process
from typing import Any, TypeVar

from wdaverify.cores import cores

_Function = TypeVar("_Function", bound=Callable[..., Any])

CORES = "cores"
"""The default of ``jobs`` where a model is given: a process for each core, or this one alone where no process may be started."""


def keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def taking(
    *sources: Callable[..., Any], without: Sequence[str] = (), **defaults: Any
) -> Callable[[_Function], _Function]:
    """Give a function (with ``**words`` at its end) the keywords of others, in its signature and in what it accepts.

    ``defaults`` are those of some keywords here. A keyword that nobody knows is a TypeError, as for any function of Python.
    """

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function)
        kept = {p.name: p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD}
        for source in sources:
            for name, parameter in keywords(source).items():
                if name not in without and name not in kept:
                    default = defaults.get(name, parameter.default)
                    kept[name] = parameter.replace(default=default)
        signature = own.replace(parameters=list(kept.values()))

        @functools.wraps(function)
        def checked(*args: Any, **words: Any) -> Any:
            try:
                signature.bind(*args, **words)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}; it takes {', '.join(kept)}") from None
            return function(*args, **words)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def split(words: dict[str, Any], *functions: Callable[..., Any]) -> list[dict[str, Any]]:
    """Words by whose they are: of the first function that knows them."""
    out: list[dict[str, Any]] = [{} for _ in functions]
    known = [keywords(function) for function in functions]
    for name, value in words.items():
        next(part for part, names in zip(out, known, strict=True) if name in names)[name] = value
    return out


def jobs_of(jobs: object) -> object:
    """What ``jobs`` means: ``CORES`` as said there, anything else as it is."""
    if not (isinstance(jobs, str) and jobs == CORES):
        return jobs
    return None if current_process().daemon else cores()
