"""What a bracket says of a threshold T: verified (V <= T), falsified (V > T), or undecided."""

from __future__ import annotations

from wdaverify.digits import stated

VERDICTS = {"yes": "verified", "no": "falsified", "undecided": "undecided"}
"""By what ``wdro.result.decided`` says of ``V <= T``."""
_SENTENCES = {
    "verified": "V <= {0} is proven",
    "falsified": "V > {0} is proven, so that V <= {0} is false",
    "undecided": "neither V <= {0} nor V > {0} is proven",
}


def verdict(decision: str, threshold: float) -> tuple[str, str]:
    """Its name, and what is proven, for an answer to ``V <= threshold`` ("yes", "no" or "undecided")."""
    name = VERDICTS[decision]
    return name, _SENTENCES[name].format(stated(threshold))
