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

    from wdaverify.certify.certificate import Certificate, read_certificate, write_certificate
    from wdaverify.certify.checker import Verdict, recheck
    from wdaverify.certify.slope_certificate import SlopeCertificate, read_lipschitz, write_lipschitz
    from wdaverify.certify.splits import SplitCertificate
    from wdaverify.certify.unsat import UnsatCertificate, read_unsat, recheck_unsat, write_unsat
    from wdaverify.checking.check import check
    from wdaverify.checking.result import CheckResult, Outcome
    from wdaverify.doors.accuracy import RobustAccuracy
    from wdaverify.doors.ask import (
        attack,
        compare,
        curve,
        distances,
        export_programs,
        lipschitz_constant,
        robust_accuracy,
        save_report,
        worst_case,
    )
    from wdaverify.doors.keras_model import from_keras
    from wdaverify.doors.onnx_model import from_onnx
    from wdaverify.doors.question import question
    from wdaverify.doors.radius_guide import RadiusGuide, radius_guide
    from wdaverify.doors.sklearn_estimator import from_sklearn
    from wdaverify.doors.torch_module import from_torch
    from wdaverify.errors import (
        CertificateError,
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
    from wdaverify.lipschitz.proven import recheck_lipschitz
    from wdaverify.losses.registry import Loss
    from wdaverify.network.model import ReluNetwork
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.problem import Functionals, Samples, WdroProblem
    from wdaverify.samples import load_samples, make_samples
    from wdaverify.specification.model import Specification
    from wdaverify.specification.reader import load_specification
    from wdaverify.wdro.curve import CurveResult
    from wdaverify.wdro.distances import DistancesResult
    from wdaverify.wdro.result import AttackResult, Reason, Status, VerificationResult
    from wdaverify.wdro.verify import verify

_HOMES = {
    "certify.certificate": ("Certificate", "read_certificate", "write_certificate"),
    "certify.checker": ("Verdict", "recheck"),
    "doors.accuracy": ("RobustAccuracy",),
    "doors.ask": (
        "attack",
        "compare",
        "curve",
        "distances",
        "export_programs",
        "lipschitz_constant",
        "robust_accuracy",
        "save_report",
        "worst_case",
    ),
    "doors.keras_model": ("from_keras",),
    "doors.onnx_model": ("from_onnx",),
    "doors.question": ("question",),
    "doors.radius_guide": ("RadiusGuide", "radius_guide"),
    "doors.sklearn_estimator": ("from_sklearn",),
    "doors.torch_module": ("from_torch",),
    "certify.splits": ("SplitCertificate",),
    "certify.slope_certificate": ("SlopeCertificate", "read_lipschitz", "write_lipschitz"),
    "lipschitz.proven": ("recheck_lipschitz",),
    "certify.unsat": ("UnsatCertificate", "read_unsat", "recheck_unsat", "write_unsat"),
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
    "losses.registry": ("Loss",),
    "network.model": ("ReluNetwork",),
    "network.onnx_reader": ("load_network",),
    "ground": ("GroundCost", "LinearRows", "Norm", "Support"),
    "problem": ("Functionals", "Samples", "WdroProblem"),
    "samples": ("load_samples", "make_samples"),
    "wdro.curve": ("CurveResult",),
    "wdro.distances": ("DistancesResult",),
    "specification.model": ("Specification",),
    "specification.reader": ("load_specification",),
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
    "RadiusGuide",
    "Reason",
    "ReluNetwork",
    "RobustAccuracy",
    "Samples",
    "SamplesError",
    "SlopeCertificate",
    "Specification",
    "SpecificationError",
    "SplitCertificate",
    "Status",
    "Support",
    "UnsatCertificate",
    "Verdict",
    "VerificationResult",
    "WdaverifyError",
    "WdroProblem",
    "attack",
    "check",
    "compare",
    "curve",
    "distances",
    "export_programs",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "lipschitz_constant",
    "load_network",
    "load_samples",
    "load_specification",
    "make_samples",
    "question",
    "radius_guide",
    "read_certificate",
    "read_lipschitz",
    "read_state",
    "read_unsat",
    "recheck",
    "recheck_lipschitz",
    "recheck_unsat",
    "robust_accuracy",
    "save_report",
    "verify",
    "worst_case",
    "write_certificate",
    "write_lipschitz",
    "write_unsat",
]


def __getattr__(name: str) -> object:
    """Import the home of a public name on first use (PEP 562), and look the version up."""
    if name == "__version__":
        return import_module("importlib.metadata").version("wdaverify")
    if name == "torch":
        return import_module("wdaverify.torch")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'wdaverify' has no attribute {name!r}")
    return getattr(import_module(f"wdaverify.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
