"""Parts of proof passes in C (``compiled.proving``), for searches; the checker's own are in numpy, and their test."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from wdaverify.certify.backward import Shells
from wdaverify.certify.loops import Chosen, Loops
from wdaverify.certify.peak import Price, peak
from wdaverify.compiled.choice import extension
from wdaverify.ground import Norm
from wdaverify.network.model import Array


class _Compiled:
    """``certify.loops.Loops`` in C: any ReLU; the peak of l-inf, order 1, without weights; the stretch of l2."""

    def __init__(self, module: ModuleType) -> None:
        self._c = module

    def relu(
        self, span: slice, q: Array, slip: Array | None, sides: tuple[Array, Array, Array], chosen: Chosen
    ) -> tuple[Array, Array, Array, Array]:
        q = np.ascontiguousarray(q)
        nu, (gain, size, lost) = np.empty_like(q), (np.empty(q.shape[:2]) for _ in range(3))
        given = [None if part is None else np.ascontiguousarray(part) for part in chosen]
        total = next((part.shape[1] for part in given if part is not None), span.stop)
        slip = None if slip is None else np.ascontiguousarray(np.broadcast_to(slip, q.shape))
        at = (np.ascontiguousarray(part) for part in sides)
        self._c.relu(span.start, total, q, slip, *at, *given, nu, gain, size, lost)
        return nu, gain, size, lost

    def peak(self, q: Array, slip: Array | None, shells: Shells, price: Price | None) -> tuple[Array, Array] | None:
        cost = shells.cost
        if cost.norm is Norm.TWO:
            return peak(q, slip, shells, price, self._stretch)
        if cost.norm is not Norm.INF or cost.weights is not None or (price is not None and price.power != 1):
            return None
        q = np.ascontiguousarray(q)
        top, spread = np.empty(q.shape[:2]), np.empty(q.shape[:2])
        tau = np.zeros(len(shells)) if price is None else np.ascontiguousarray(price.tau)
        slip = None if slip is None else np.ascontiguousarray(np.broadcast_to(slip, q.shape))
        parts = (
            np.ascontiguousarray(part) for part in (shells.centre, shells.up, shells.down, shells.near, shells.far)
        )
        self._c.peak(q, slip, *parts, tau, top, spread)
        return top, spread

    def _stretch(self, pull: Array, up: Array, down: Array, near: Array, far: Array, tau: Array, power: int) -> Array:
        """At which what distance pays for is the slope of the price, or near or far is reached."""
        (count, rows, n), index = pull.shape, np.repeat(np.arange(pull.shape[0]), pull.shape[1])
        given = np.ascontiguousarray(pull.reshape(-1, n)), np.ascontiguousarray(up), np.ascontiguousarray(down)

        def of(kind: int, target: Array) -> Array:
            out = np.empty(count * rows)
            self._c.stretch(kind, index, *given, np.repeat(target, rows), out)
            return out

        with np.errstate(divide="ignore"):
            wanted = of(2, tau) if power == 1 else np.repeat(np.where(tau > 0, 0.5 / tau, np.inf), rows)
        return np.clip(wanted, of(0, near), of(0, far)).reshape(count, rows)


def compiled() -> Loops | None:
    """Those in C; None where numpy runs."""
    module = extension("proving")
    return None if module is None else _Compiled(module)
