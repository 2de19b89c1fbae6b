"""A question about a torch module or callable that is not read as a graph: what the attacks take, and what is refused there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wdaverify.arithmetic import Arithmetic
from wdaverify.attacks.effort import POWERS, effort_of
from wdaverify.attacks.torch_network import pick_device
from wdaverify.doors.module_ready import TRIED, ready
from wdaverify.doors.question import at_hand
from wdaverify.doors.torch_module import refuse_unready
from wdaverify.errors import NetworkError, ProblemError, SamplesError
from wdaverify.given import entries, flag, number, real, told, whole
from wdaverify.ground import GroundCost, Support
from wdaverify.losses.registry import Loss
from wdaverify.samples import clipped, make_samples
from wdaverify.wdro.module_attack import ModuleAttackResult, ModuleQuestion, module_attack, told_on_stderr
from wdaverify.wdro.options import seconds as seconds_of

MODULE_STAGES = ("wda", "wda++", "ensemble")
"""What is run of a module unless ``attacks`` says more: the sweep and the polish ask for thousands of gradients a sample."""
_LOSSES = ("margin", "zero-one", "hinge", "cw", "cross-entropy")


def attack_module(
    module: Callable[[Tensor], Tensor],
    X: Any,
    y: Any,
    *,
    radius: Any,
    support: Any,
    norm: Any = "inf",
    order: Any = 1,
    loss: Any = "margin",
    weights: Any = None,
    cost_weights: Any = None,
    label_cost: Any = math.inf,
    functionals: Any = None,
    specification: Any = None,
    clip: Any = False,
    logits: Any = False,
    arithmetic: Any = "real",
    device: Any = "auto",
    seed: Any = 0,
    time_limit: Any = None,
    attacks: Any = MODULE_STAGES,
    powers: Any = POWERS,
    steps: Any = None,
    restarts: Any = None,
    rivals: Any = None,
    budget: Any = None,
    batch: Any = 64,
    progress: Any = False,
    notices: tuple[str, ...] = (),
) -> ModuleAttackResult:
    """Lower bounds of ``V(radius)`` of any module or callable with gradients, evaluated by itself in floating point.

    Args:
        module: takes ``[B, ...]`` and gives scores ``[B, K]``, each row by itself; a ``torch.nn.Module`` in evaluation mode. It runs
            where its weights are; a callable on ``device``.
        X, y, radius, support, norm, order, loss, weights, clip: as ``wdaverify.question``; points of any shape, fixed labels, a box
            or all of R^n, and the losses margin, zero-one, hinge, cw and cross-entropy.
        cost_weights, label_cost, functionals, specification, logits, arithmetic: refused, unless they say nothing.
        device, seed, time_limit, attacks, powers, steps, restarts, rivals, budget: as ``wdro.attacking.attack``.
        batch: points that the module is given at a time, which bounds its memory.
        progress: True writes a line to stderr; or a function of evaluations and seconds.
        notices: go to the result.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    if not callable(module):
        raise NetworkError(f"model {told(module)}: a torch.nn.Module or a callable on tensors is accepted")
    refused = {"cost_weights": cost_weights, "functionals": functionals, "specification": specification}
    for word, given in (*refused.items(), ("logits", logits or None)):
        if given is not None:
            raise ProblemError(
                f"{word} of a module that evaluates itself: leave it out; networks that are graphs take it"
            )
    if Arithmetic.of(arithmetic) is Arithmetic.FLOAT32:
        raise ProblemError(
            "arithmetic float32 of a module that evaluates itself: its own arithmetic is what it has, and no error bound of it is known; "
            "leave it out; networks that are graphs take it"
        )
    if label_cost != math.inf:
        raise ProblemError("label_cost of a module that evaluates itself: labels stay there; leave it out")
    name = (
        getattr(module, "original_name", type(module).__name__) if isinstance(module, torch.nn.Module) else "callable"
    )
    dtype, where = torch.float32, None
    if isinstance(module, torch.nn.Module):
        refuse_unready(module, name)
        like = next((p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), None)
        dtype, where = (like.dtype, like.device) if like is not None else (dtype, where)
    if isinstance(X, Tensor) and where is None and X.is_floating_point():
        dtype, where = X.dtype, X.device
    where = _picked(device) if where is None else _same(where, device)
    points = entries("X", at_hand(X), SamplesError, bools=True)
    if points.ndim < 2 or 0 in points.shape:
        raise SamplesError(f"X of shape {list(points.shape)}: points [N, ...] are accepted, one a row")
    if y is None:
        raise SamplesError(f"y is missing, which the {Loss.of(loss)} loss needs: labels [N], class numbers from 0")
    exact = torch.tensor(np.array(points)).to(dtype).double().numpy()
    samples = make_samples(exact, at_hand(y), at_hand(weights))
    eps, cost, asked = ball_of(radius, norm, order, loss)
    box = _box(support, samples.x.shape[1])
    if flag("clip", clip):
        samples = clipped(samples, box)
    outside = ((samples.x < box.lower) | (samples.x > box.upper)).any(axis=1)
    if outside.any():
        raise SamplesError(
            f"sample {int(outside.argmax())} lies outside the support; clip=True moves points onto a box"
        )
    question = ModuleQuestion(
        module,
        name,
        tuple(points.shape[1:]),
        dtype,
        samples,
        cost,
        box,
        asked,
        eps,
    )
    if not (isinstance(progress, bool) or callable(progress)):
        raise ProblemError(f"progress {told(progress)}: True, False or a function is accepted")
    effort = effort_of(attacks, powers, steps, restarts, rivals, budget)
    batch = whole("batch", batch, "a whole number >= 1", lambda b: b >= 1)
    said = ready(module, _tried(question, batch).to(where), name)
    tell = told_on_stderr() if progress is True else progress or None
    return module_attack(
        question,
        device=where,
        seed=whole("seed", seed, "a whole number >= 0 (and below 2^63)", lambda s: 0 <= s < 2**63),
        time_limit=seconds_of("time limit", time_limit),
        effort=effort,
        batch=batch,
        progress=tell,
        notices=(*notices, *said, *effort.unused(cost.order)),
    )


def ball_of(radius: Any, norm: Any, order: Any, loss: Any) -> tuple[float, GroundCost, Loss]:
    """The radius, the cost and the loss of a question about a module.

    Raises:
        ProblemError: one of them cannot be used.
    """
    asked = Loss.of(loss)
    if asked.value not in _LOSSES:
        raise ProblemError(f"loss {asked.value} of a module: accepted are {', '.join(_LOSSES)}")
    return real("radius", radius, "a finite number >= 0", lambda r: 0 <= r < math.inf), GroundCost(norm, order), asked


def _tried(question: ModuleQuestion, batch: int) -> Tensor:
    """At most ``batch`` rows at which the module is looked at: samples, and where they are few points beside the first."""
    x, box = question.samples.x, question.support
    drawn = np.random.default_rng(0).uniform(-1.0, 1.0, (TRIED, x.shape[1]))
    beside = np.clip(x[:1] + question.radius * drawn, box.lower, box.upper)
    rows = np.concatenate([x[:TRIED], beside])[: min(TRIED, batch)]
    return torch.tensor(rows).to(question.dtype).reshape(-1, *question.shape)


def _picked(device: Any) -> torch.device:
    """Where a callable runs that says nothing of it."""
    return pick_device(device.type if isinstance(device, torch.device) else device)


def _same(where: torch.device, device: Any) -> torch.device:
    """The module's own device, which ``device`` must not contradict."""
    if isinstance(device, str) and device == "auto":
        return where
    try:
        asked = torch.device(device) if isinstance(device, str) else device
    except RuntimeError:
        asked = None
    if not isinstance(asked, torch.device):
        raise ProblemError(f"device {told(device)}: accepted are auto, cpu and cuda, and a torch.device")
    if asked.type != where.type or asked.index not in (None, where.index or 0):
        raise ProblemError(
            f"device {str(asked)!r}: the module's weights are on {where}; move it there by module.to({str(asked)!r})"
        )
    return where


def box_form(given: Any) -> None:
    """Refuse a support that is none for any number of features.

    Raises:
        ProblemError: it is none.
    """
    sides = given if isinstance(given, tuple | list) and len(given) == 2 else ()
    if not isinstance(given, Support) and all(number(side) is not None for side in sides):
        _box(given, 1)


def _box(given: Any, n: int) -> Support:
    if isinstance(given, str) and given == "none":
        return Support.whole(n)
    if isinstance(given, Support) and given.plain:
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        low, high = (side if number(side) is not None else np.asarray(side, np.float64).reshape(-1) for side in given)
        return Support.box(low, high, n)
    raise ProblemError(
        f"support {told(given)}: (lo, hi), each a number or one a feature, or 'none' for all of R^n is accepted of a module"
    )
