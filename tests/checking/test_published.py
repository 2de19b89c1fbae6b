"""Published specifications with the verdicts of several tools: none is contradicted, and every counterexample replays."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from wdaverify import Outcome, check, load_specification

QUICK = {
    "acasxu": ["1_1 prop_1", "2_5 prop_1", "1_1 prop_2", "2_7 prop_2", "1_2 prop_3", "2_2 prop_4", "1_9 prop_4"],
    "reach_prob_density": ["vdp_0", "vdp_1", "vdp_3", "vdp_6", "vdp_8", "vdp_11"],
    "rl_benchmarks": ["unsafe_42", "unsafe_1", "safe_14", "safe_79", "safe_99"],
    "tllverifybench": ["N=8_0", "N=8_1", "N=8_2", "N=8_3"],
}
CASES = [(benchmark, name) for benchmark, names in QUICK.items() for name in names]


def row_of(folder: Path, benchmark: str, name: str) -> dict[str, str]:
    with (folder / "instances.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["benchmark"] == benchmark]
    words = name.split()
    found = [row for row in rows if all(_named(word, row) for word in words)]
    assert len(found) == 1, name
    return found[0]


def _named(word: str, row: dict[str, str]) -> bool:
    stem = row["spec"].split(".")[0]
    return stem == word or stem.endswith(f"_{word}") or f"a_{word}_" in row["network"]


def replayed(path: Path, x: np.ndarray) -> list[float]:
    """The outputs of a file at float32 numbers, here and not by the package."""
    import onnxruntime

    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    out = session.run(None, {source.name: x.astype(np.float32).reshape(shape)})[0]
    return np.asarray(out, np.float64).ravel().tolist()


@pytest.mark.parametrize(("benchmark", "name"), CASES)
def test_verdicts(benchmark: str, name: str, vnncomp: Path) -> None:
    row = row_of(vnncomp, benchmark, name)
    network, path = vnncomp / benchmark / row["network"], vnncomp / benchmark / row["spec"]
    result = check(network, path, time_limit=60)
    assert row["counts"] == "yes"
    assert result.outcome == row["verdict"]
    if result.outcome is Outcome.SAT:
        specification, found = load_specification(path), result.counterexample
        assert (found.inputs == found.inputs.astype(np.float32)).all()
        x, z = found.inputs.tolist(), replayed(network, found.inputs)
        assert z == found.outputs.tolist()
        assert any(
            (found.inputs >= d.box.least).all()
            and (found.inputs <= d.box.most).all()
            and all(line.holds(x, z) for line in d.rows)
            for d in specification.disjuncts
        )
    else:
        assert result.upper < 0
