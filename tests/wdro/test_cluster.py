"""A real Dask cluster of separate processes: the same answer, whatever happens to its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from journal.killed import MODELS
from wdro.dask_cluster import LocalProcesses, local_cluster
from wdro.test_workers import question

from wdaverify import WdroProblem, cli, verify
from wdaverify.errors import ProblemError
from wdaverify.journal.store import Journal
from wdaverify.problem import Loss
from wdaverify.wdro.cluster import cluster
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.result import VerificationResult

NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")


@pytest.fixture(autouse=True)
def every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told at every step, and bundles are small, so that something is left to happen to."""
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)
    monkeypatch.setattr("wdaverify.wdro.dispatch._WORTH", 1e-3)


def once(act: Callable[[], object]) -> tuple[list[int], Callable[[Progress], None]]:
    """Do something after the first answer."""
    done: list[int] = []

    def progress(now: Progress) -> None:
        if now.phase == "solve" and now.solves >= 1 and not done:
            done.append(now.solves)
            act()

    return done, progress


def on(made: LocalProcesses, problem: WdroProblem, **options: object) -> VerificationResult:
    with cluster(made.address) as (executor, slots):
        return verify(problem, executor=executor, slots=slots, **options)  # type: ignore[arg-type]


def test_the_same_answer_and_a_worker_killed_and_one_that_joins() -> None:
    with local_cluster(2) as made:
        for loss in (Loss.MARGIN, Loss.ZERO_ONE):
            truth, result = verify(question(loss)), on(made, question(loss))
            assert (result.status, result.vouched_upper) == ("exact", "checked")
            assert result.value == pytest.approx(truth.value, abs=2e-6)
            assert result.statistics.jobs == 2
            assert result.statistics.solves >= 5
        truth = verify(question())
        done, progress = once(made.workers[0].kill)
        result = on(made, question(), progress=progress)
        assert done
        assert result.status == "exact"
        assert result.value == pytest.approx(truth.value, abs=2e-6)
        made.workers[0].wait()
        done, progress = once(lambda: made.join(wait=2))
        with cluster(made.address) as (executor, slots):
            assert slots() == 1
            result = verify(question(), executor=executor, slots=slots, progress=progress)
        assert done
        assert result.value == pytest.approx(truth.value, abs=2e-6)
        assert on(made, question()).statistics.jobs == 2


def test_a_lost_scheduler_ends_the_run_and_the_journal_resumes_it(tmp_path: Path) -> None:
    truth = verify(question())
    with local_cluster(1) as made, Journal(tmp_path) as journal:
        done, progress = once(made.scheduler.kill)
        result = on(made, question(), progress=progress, journal=journal)
    assert done
    assert (result.status, result.reason) == ("bracket", "executor-lost")
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert any("is lost" in notice for notice in result.notices)
    assert 1 <= result.statistics.solves < truth.statistics.solves
    with Journal(tmp_path) as journal:
        resumed = verify(question(), journal=journal)
    assert resumed.value == pytest.approx(truth.value, abs=2e-6)
    assert resumed.statistics.solves <= truth.statistics.solves - result.statistics.solves + 3


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["verify", NET, DATA, "--radius", "0.05"]
    with local_cluster(1) as made:
        assert cli._run([*ask, "--scheduler", made.address, "--run", str(tmp_path)]) == 0
        assert "with 1 process" in capsys.readouterr().out
        assert cli._run([*ask, "--scheduler", made.address, "--jobs", "2"]) == 2
        assert "--scheduler has its own" in capsys.readouterr().err
        made.workers[0].kill()
        made.workers[0].wait()
    assert cli._run([*ask, "--run", str(tmp_path), "--jobs", "1"]) == 0
    assert "0 solves" in capsys.readouterr().out


def test_a_cluster_without_workers_or_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdaverify.wdro.cluster._ANSWERS", "2s")
    with local_cluster(0) as made:
        from distributed import Client

        Client(made.address, timeout="60s", set_as_default=False).close()
        with pytest.raises(ProblemError, match="has no workers"), cluster(made.address):
            pass
    with pytest.raises(ProblemError, match="no scheduler answers"), cluster(made.address):
        pass
