"""What status says of a run, from a state made up by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from wdaverify.journal.state import JournalState
from wdaverify.report.journal import status_json, status_summary

STATE: dict[str, Any] = {
    "phase": "solve",
    "reason": None,
    "lower": -1.5,
    "upper": 0.25,
    "gap": 1e-6,
    "rounds": 3,
    "solves": 40,
    "open": 12,
    "elapsed": 33.0,
    "solve_seconds": 60.0,
    "jobs": 2,
    "reused": 7,
    "samples": 5,
    "widest": [[4, 0.2, -1.0, 1.0], [1, 0.2, 0.5, 0.5]],
    "label": "",
}
COMMAND = {"arguments": ["verify", "my net.onnx", "d.npz", "--radius", "0.1"], "folder": "/tmp", "files": {}}
FOUND = JournalState("run 1", 2, 100, 200, 12345, 45.0, 1.7e9, COMMAND, STATE, 77)


def test_a_run_at_work() -> None:
    said = status_summary(FOUND)
    for words in (
        "2 run(s), 200 facts, 100 points, 12 kB",
        "wdaverify verify 'my net.onnx' d.npz --radius 0.1",
        "at work (process 77); 45.0 s in all runs",
        "[-1.500000, 0.250000]   gap 1.8 (asked for: 1e-06)",
        "round 3; 40 questions answered in 33.0 s, 7 facts reused; 12 questions open",
        "9.0 s for the questions open now",  # 12 questions of 60 s / 40, on two processes
        "sample 4: [-1.000000, 1.000000], weight 0.2",
    ):
        assert words in said
    assert "sample 1:" not in said  # it is closed
    assert status_json(FOUND)["estimate_seconds"] == pytest.approx(9.0)


def test_a_run_that_was_cut_off() -> None:
    assert "cut off; wdaverify resume 'run 1' goes on" in status_summary(replace(FOUND, process=None))


def test_a_run_that_has_ended() -> None:
    ended = replace(FOUND, process=None, state={**STATE, "reason": "time-limit", "label": "b (2 of 3)"})
    said = status_summary(ended)
    assert "ended: time-limit" in said
    assert "none: the run has ended" in said
    assert "b (2 of 3)" in said
    assert status_json(ended)["estimate_seconds"] is None


def test_a_run_that_has_said_nothing_yet() -> None:
    empty = replace(FOUND, command={}, state={})
    assert "(from Python)" in status_summary(empty)
    assert status_json(empty)["estimate_seconds"] is None
    early = replace(FOUND, state={**STATE, "solves": 0, "upper": math.inf})
    assert "none yet: no question was answered" in status_summary(early)
    assert json.loads(json.dumps(status_json(early), allow_nan=False))["state"]["upper"] is None
