"""Exact worst-case values of ReLU networks over a Wasserstein ball.

    V(radius) = sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius }

The public names resolve on first use, so that reading a network loads neither torch nor a solver.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from wdaverify.checking.check import check
    from wdaverify.checking.result import CheckResult, Outcome
    from wdaverify.errors import (
        InputError,
        JournalError,
        NetworkError,
        OutputError,
        ProblemError,
        SamplesError,
        SpecificationError,
        WdaverifyError,
    )
    from wdaverify.ground import GroundCost, LinearRows, Norm, Support
    from wdaverify.journal.state import JournalState, read_state
    from wdaverify.journal.store import Journal
    from wdaverify.network.model import ReluNetwork
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.problem import Functionals, Loss, Samples, WdroProblem
    from wdaverify.samples import load_samples, make_samples
    from wdaverify.specification.model import Specification
    from wdaverify.specification.reader import load_specification
    from wdaverify.wdro.attacking import attack
    from wdaverify.wdro.curve import CurveResult, curve
    from wdaverify.wdro.distances import DistancesResult, distances
    from wdaverify.wdro.result import AttackResult, Reason, Status, VerificationResult
    from wdaverify.wdro.verify import verify

_HOMES = {
    "certify.certificate": ("Certificate", "read_certificate", "write_certificate"),
    "certify.checker": ("Verdict", "recheck"),
    "checking.check": ("check",),
    "checking.result": ("CheckResult", "Outcome"),
    "errors": (
        "CertificateError",
        "InputError",
        "JournalError",
        "NetworkError",
        "OutputError",
        "ProblemError",
        "SamplesError",
        "SpecificationError",
        "WdaverifyError",
    ),
    "journal.state": ("JournalState", "read_state"),
    "journal.store": ("Journal",),
    "network.model": ("ReluNetwork",),
    "network.onnx_reader": ("load_network",),
    "ground": ("GroundCost", "LinearRows", "Norm", "Support"),
    "problem": ("Functionals", "Loss", "Samples", "WdroProblem"),
    "samples": ("load_samples", "make_samples"),
    "specification.model": ("Specification",),
    "specification.reader": ("load_specification",),
    "wdro.attacking": ("attack",),
    "wdro.curve": ("CurveResult", "curve"),
    "wdro.distances": ("DistancesResult", "distances"),
    "wdro.result": ("AttackResult", "Reason", "Status", "VerificationResult"),
    "wdro.verify": ("verify",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "AttackResult",
    "Certificate",
    "CertificateError",
    "CheckResult",
    "CurveResult",
    "DistancesResult",
    "Functionals",
    "GroundCost",
    "InputError",
    "Journal",
    "JournalError",
    "JournalState",
    "LinearRows",
    "Loss",
    "NetworkError",
    "Norm",
    "Outcome",
    "OutputError",
    "ProblemError",
    "Reason",
    "ReluNetwork",
    "Samples",
    "SamplesError",
    "Specification",
    "SpecificationError",
    "Status",
    "Support",
    "Verdict",
    "VerificationResult",
    "WdaverifyError",
    "WdroProblem",
    "attack",
    "check",
    "curve",
    "distances",
    "load_network",
    "load_samples",
    "load_specification",
    "make_samples",
    "read_certificate",
    "read_state",
    "recheck",
    "verify",
    "write_certificate",
]


def __getattr__(name: str) -> object:
    """Import the home of a public name on first use (PEP 562), and look the version up."""
    if name == "__version__":
        return import_module("importlib.metadata").version("wdaverify")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'wdaverify' has no attribute {name!r}")
    return getattr(import_module(f"wdaverify.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
