"""Questions handed over together: the same brackets, and what fails together is asked alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from wdro.test_limits_and_faults import BOTH, larger, tiny

import wdaverify.wdro.workers as workers_module
from wdaverify import verify
from wdaverify.engines.base import Answer, Effort, Question
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Loss, Norm
from wdaverify.wdro.dispatch import Dispatch
from wdaverify.wdro.workers import Task


class Seen:
    """How many questions were asked at once, and which were asked alone."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.alone = 0


def watched(monkeypatch: pytest.MonkeyPatch, *, failing: bool = False) -> Seen:
    seen = Seen()

    class Watched(CellEngine):
        def __init__(self, net: ReluNetwork, solver: str) -> None:
            super().__init__(net)

        def answer(self, question: Question, effort: Effort) -> Answer:
            seen.alone += 1
            return super().answer(question, effort)

        def answer_all(self, asked: Sequence[tuple[Question, Effort]]) -> list[Answer]:
            seen.together.append(len(asked))
            if failing:
                raise ValueError("a fault that a bundle meets")
            return super().answer_all(asked)

    monkeypatch.setattr(workers_module, "make_engine", Watched)
    monkeypatch.setattr("wdaverify.wdro.dispatch._WORTH_TOGETHER", 5.0)
    return seen


@BOTH
@pytest.mark.parametrize("failing", [False, True])
def test_brackets_are_the_same_and_a_fault_is_asked_apart(
    loss: Loss, norm: Norm, failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch, failing=failing)
    p, truth = larger(loss, norm)
    result = verify(p, solver="cells")
    assert (result.status, result.reason) == ("exact", "gap-closed")
    assert result.lower <= truth.upper + 1e-12
    assert truth.lower <= result.upper + 1e-12
    assert seen.together
    assert min(seen.together) > 1
    if failing:
        assert seen.alone >= sum(seen.together)


@BOTH
def test_processes_are_handed_them_together(loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """By as many as there are slots, none of which is left idle."""
    sizes, submit = list[int](), Dispatch._submit

    def counted(self: Dispatch, tasks: tuple[Task, ...], **rest: bool) -> None:
        sizes.append(len(tasks))
        submit(self, tasks, **rest)

    monkeypatch.setattr(Dispatch, "_submit", counted)
    monkeypatch.setattr("wdaverify.wdro.dispatch._WORTH_TOGETHER", 5.0)
    p, low, high = tiny(loss, norm)
    result = verify(p, solver="cells", jobs=1)
    assert result.status == "exact"
    assert result.lower <= high + 1e-9
    assert low - 1e-9 <= result.upper
    assert sizes


def test_what_was_asked_before_is_asked_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With slices too short for anything every question is asked again, by itself."""
    seen = watched(monkeypatch)
    monkeypatch.setattr("wdaverify.wdro.run._FIRST_SLICE", 0.0005)
    apart = Dispatch._apart
    again = list[int]()

    def noted(self: Dispatch, task: Task) -> bool:
        told = apart(self, task)
        assert told == (task.tries > 0 or task.parts > 1 or self._run.deaths[task.item] > 0)
        again.append(task.tries)
        return told

    monkeypatch.setattr(Dispatch, "_apart", noted)
    p, truth = larger(Loss.MARGIN, Norm.INF)
    result = verify(p, solver="cells")
    assert result.status == "exact"
    assert result.value == pytest.approx(truth.value, abs=2e-6)
    assert max(again) > 0
    assert seen.alone >= sum(tries > 0 for tries in again)
