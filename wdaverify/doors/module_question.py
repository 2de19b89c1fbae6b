"""A question about a torch module or callable that is not read as a graph: what the attacks take, and what is refused there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wdaverify.attacks.effort import POWERS, effort_of
from wdaverify.attacks.torch_network import pick_device
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
    clip: Any = False,
    logits: Any = False,
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
        cost_weights, label_cost, functionals, logits: refused, unless they say nothing.
        device, seed, time_limit, attacks, powers, steps, restarts, rivals, budget: as ``wdro.attacking.attack``.
        batch: points that the module is given at a time, which bounds its memory.
        progress: True writes a line to stderr; or a function of evaluations and seconds.
        notices: go to the result.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    if not callable(module):
        raise NetworkError(f"model {told(module)}: a torch.nn.Module or a callable on tensors is accepted")
    for word, given in (("cost_weights", cost_weights), ("functionals", functionals), ("logits", logits or None)):
        if given is not None:
            raise ProblemError(
                f"{word} of a module that evaluates itself: leave it out; networks that are graphs take it"
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
    where = pick_device(device) if where is None else _same(where, device)
    points = entries("X", X.detach().cpu().numpy() if isinstance(X, Tensor) else X, SamplesError, bools=True)
    if points.ndim < 2 or 0 in points.shape:
        raise SamplesError(f"X of shape {list(points.shape)}: points [N, ...] are accepted, one a row")
    exact = torch.tensor(np.array(points)).to(dtype).double().numpy()
    samples = make_samples(exact, y.detach().cpu() if isinstance(y, Tensor) else y, weights)
    asked, box = Loss.of(loss), _box(support, samples.x.shape[1])
    if asked.value not in _LOSSES:
        raise ProblemError(f"loss {asked.value} of a module: accepted are {', '.join(_LOSSES)}")
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
        GroundCost(norm, order),
        box,
        asked,
        real("radius", radius, "a finite number >= 0", lambda r: 0 <= r < math.inf),
    )
    if not (isinstance(progress, bool) or callable(progress)):
        raise ProblemError(f"progress {told(progress)}: True, False or a function is accepted")
    tell = told_on_stderr() if progress is True else progress or None
    return module_attack(
        question,
        device=where,
        seed=whole("seed", seed, "a whole number >= 0 (and below 2^63)", lambda s: 0 <= s < 2**63),
        time_limit=seconds_of("time limit", time_limit),
        effort=effort_of(attacks, powers, steps, restarts, rivals, budget),
        batch=whole("batch", batch, "a whole number >= 1", lambda b: b >= 1),
        progress=tell,
        notices=notices,
    )


def _same(where: torch.device, device: Any) -> torch.device:
    """The module's own device, which ``device`` must not contradict."""
    if device not in ("auto", where.type):
        raise ProblemError(
            f"device {device!r}: the module's weights are on {where.type}; move it there by module.to({device!r})"
        )
    return where


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
