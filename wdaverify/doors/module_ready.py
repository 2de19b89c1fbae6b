"""A module before it is attacked: it computes scores, the same ones twice, and each row's by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wdaverify.digits import at_most
from wdaverify.doors.torch_module import outputs_at
from wdaverify.errors import NetworkError

TRIED = 8
"""Rows at which a module is looked at."""
_AGAIN, _SIZE, _SPREAD, _LEAST = 1e-5, 1e-4, 1e-3, 1e-9
"""Differences beyond these shares of the scores' size (at the same rows; beside others) and spread are no rounding of single precision."""


def ready(module: Callable[[Tensor], Any], rows: Tensor, name: str) -> tuple[str, ...]:
    """Notices about a module that was tried at ``rows [B, ...]``, twice and the first one alone.

    Raises:
        NetworkError: it fails there, gives no scores, or scores that depend on chance or on the rows beside them.
    """
    first, again = (_scores(module, rows, name) for _ in range(2))
    size, spread = float(first.abs().max()), float(first.max() - first.min())
    unit = torch.finfo(rows.dtype).eps
    apart = _apart(first, again)
    if not apart <= max(_AGAIN, 16 * unit) * size + _LEAST:
        raise NetworkError(
            f"{name} gives other scores at the same rows again, {at_most(apart)} apart: it depends on chance or on what was asked "
            "before; scores that are a function of the row are accepted"
        )
    for some in (slice(0, 1), slice(0, (len(rows) + 1) // 2)):
        alone = _scores(module, rows[some], name)
        apart = _apart(first[some], alone)
        if not apart <= max(_SIZE, 32 * unit) * size + _SPREAD * spread + _LEAST:
            raise NetworkError(
                f"{name} gives a row other scores alone than beside other rows, {at_most(apart)} apart: scores of each row by itself "
                "are accepted (batch=1 gives it one row at a time)"
            )
    return (*_half(rows.dtype), *_probabilities(first))


def _scores(module: Callable[[Tensor], Any], rows: Tensor, name: str) -> Tensor:
    """Scores as doubles, 0 for those that are not finite, which are refused where it is said at which sample."""
    return outputs_at(module, rows, name).detach().double().cpu().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _apart(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        raise NetworkError(
            f"the module gives scores of shape {list(one.shape)} and {list(other.shape)} at as many rows: one shape is accepted"
        )
    return float((one - other).abs().max())


def _half(dtype: torch.dtype) -> tuple[str, ...]:
    if torch.finfo(dtype).bits > 16:
        return ()
    kind = str(dtype).removeprefix("torch.")
    return (
        f"the module computes in {kind}: small steps of the attacks and small differences of scores round away, so that the bound may "
        "be far below what a copy in float32 (module.float()) gives",
    )


def _probabilities(scores: Tensor) -> tuple[str, ...]:
    """What is to be said of scores that look like probabilities."""
    flat = scores.unsqueeze(1) if scores.ndim == 1 else scores
    if not bool((flat >= 0).all()):
        return ()
    if flat.shape[1] == 1 and bool((flat <= 1).all()):
        return (
            "the one score lies between 0 and 1, as after a Sigmoid: it is taken as it is, and above 0 means class 1; return the logit",
        )
    if flat.shape[1] > 1 and bool(((flat.sum(dim=1) - 1).abs() <= 1e-2).all()):
        return (
            "the scores are non-negative and sum to 1, as after a Softmax: they are taken as the module returns them, so that "
            "cross-entropy is not the log-likelihood and margins are differences of probabilities; return logits for those",
        )
    return ()
