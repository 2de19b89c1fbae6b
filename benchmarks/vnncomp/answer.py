"""One instance of VNN-COMP: the result file, in the competition's form.

    answer.py NET.onnx SPEC.vnnlib                            whether both files are accepted (status 0)
    answer.py NET.onnx SPEC.vnnlib RESULT SECONDS BEGUN       the answer; BEGUN is when the clock started (time.time())

``sat`` is written of a float32 counterexample alone whose outputs onnxruntime computes; what is so in real arithmetic only is ``unknown``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

RESERVE = 0.3
"""Seconds of the limit that are left for writing."""


def result_text(result) -> str:
    """The content of the result file."""
    from wdaverify.checking.result import Outcome

    word = "unknown" if result.outcome is Outcome.SAT_IN_REALS else result.outcome.value
    if word != "sat":
        return f"{word}\n"
    found = result.counterexample
    pairs = [
        f"({name}_{k} {value!r})"
        for name, values in (("X", found.inputs), ("Y", found.outputs))
        for k, value in enumerate(values.tolist())
    ]
    return "sat\n(" + "\n".join(pairs) + ")\n"


def write(path: str, text: str) -> None:
    """Whole or not at all."""
    scratch = Path(f"{path}.tmp")
    scratch.write_text(text, encoding="ascii")
    scratch.replace(path)


def main(arguments: list[str]) -> int:
    network, specification = arguments[:2]
    result, left = (
        (arguments[2], float(arguments[3]) - (time.time() - float(arguments[4]))) if arguments[2:] else ("", 0.0)
    )
    begun = time.monotonic()
    try:
        from wdaverify import check, load_network, load_specification
        from wdaverify.cores import cores
        from wdaverify.specification.fits import check_fits

        if not result:
            check_fits(load_network(network), load_specification(specification))
            return 0
        rest = max(0.0, left - (time.monotonic() - begun) - RESERVE)
        write(result, result_text(check(network, specification, time_limit=rest, jobs=cores())))
    except Exception as error:  # noqa: BLE001 (whatever it is, the competition has one word for it)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        if result:
            write(result, "error\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
