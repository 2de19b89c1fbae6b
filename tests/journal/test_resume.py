"""Runs that are killed and taken up again: the answer of the uninterrupted run, and nothing proven twice."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from journal.killed import GAP, MODELS, question, run
from quick import one_in

from wdaverify import GroundCost, Norm, Support, VerificationResult, WdroProblem, cli, curve, distances, recheck, verify
from wdaverify.errors import JournalError
from wdaverify.journal.database import NAME, read_only
from wdaverify.journal.facts import Fact, Point, Scope
from wdaverify.journal.state import read_state
from wdaverify.journal.store import Journal
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.result import Reason

TESTS = str(Path(__file__).parents[1])
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
LOSSES = ("margin", "zero-one")


@cache
def uninterrupted(loss: str) -> tuple[VerificationResult, int]:
    """The result without interruption, and how many statements its journal takes."""
    with TemporaryDirectory() as folder:
        return run(folder, loss)


def killed(folder: Path, loss: str, stop: int) -> tuple[int, int]:
    """Run in a process of its own; its exit status, and how many answers it had committed."""
    command = [sys.executable, "-m", "journal.killed", str(folder), loss, str(stop)]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": TESTS}, capture_output=True, text=True)
    return done.returncode, int(done.stdout or 0)


def answered(folder: Path) -> list[tuple[object, ...]]:
    """The questions that the journal says were answered for good."""
    with closing(read_only(folder)) as base:
        return base.execute(
            "SELECT scope, sample, label, code, multiplier FROM fact WHERE vouched = 'cells' AND length(spent) > 0"
        ).fetchall()


def same(result: VerificationResult, loss: str) -> None:
    truth = uninterrupted(loss)[0]
    assert result.status == "exact"
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert abs(result.value - truth.value) <= GAP


@pytest.mark.parametrize("point", [*range(2), *(pytest.param(k, marks=pytest.mark.full) for k in range(2, 100))])
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(point: int, tmp_path: Path) -> None:
    """SIGKILL at a random statement of the journal, the middle of a transaction included."""
    loss = LOSSES[point % 2]
    truth, statements = uninterrupted(loss)
    stop = int(np.random.default_rng(point).integers(1, int(0.9 * statements)))
    status, committed = killed(tmp_path, loss, stop)
    assert status == -signal.SIGKILL
    before = answered(tmp_path)
    assert len(before) >= committed
    result, _ = run(tmp_path, loss)
    same(result, loss)
    assert result.statistics.solves <= truth.statistics.solves - len(before) + 15
    assert max(Counter(answered(tmp_path)).values()) == 1
    assert set(before) <= set(answered(tmp_path))
    assert not any("damaged" in notice for notice in result.notices)


@pytest.mark.parametrize("loss", [pytest.param("margin", marks=pytest.mark.full), "zero-one"])
def test_a_run_killed_right_after_an_answer_has_its_points(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction that holds an answer is the last one, in turn."""
    copies: list[Path] = []
    add = Journal.add

    def copied(journal: Journal, scope: Scope, *, facts: Sequence[Fact] = (), points: Sequence[Point] = ()) -> None:
        add(journal, scope, facts=facts, points=points)
        if any(fact.vouched == "cells" for fact in facts):
            copies.append(tmp_path / str(len(copies)))
            copies[-1].mkdir()
            with closing(sqlite3.connect(copies[-1] / NAME)) as base:
                journal._base.backup(base)

    monkeypatch.setattr(Journal, "add", copied)
    run(tmp_path / "whole", loss)
    monkeypatch.undo()
    assert len(copies) >= 5
    for folder in copies:
        same(run(folder, loss)[0], loss)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE point SET sum = x'00'", "DELETE FROM point", "UPDATE scope SET key = x'00' WHERE fields LIKE '%points%'"],
)
@pytest.mark.parametrize(("order", "loss"), one_in(2, [1, math.inf], LOSSES))
def test_points_that_were_lost_are_found_again(order: float, loss: str, damage: str, tmp_path: Path) -> None:
    """Questions are known to be answered, and what they found is not: by every start until it is."""
    asked = replace(question(loss), cost=GroundCost(Norm.INF, order))
    with Journal(tmp_path) as journal:
        truth = verify(asked, gap=GAP, journal=journal)
    with closing(sqlite3.connect(tmp_path / NAME)) as base, base:
        base.execute(damage)
    with Journal(tmp_path) as journal:
        cut_off = verify(asked, journal=journal, gap=GAP, time_limit=1e-3)
        assert cut_off.lower <= truth.upper
        assert truth.lower <= cut_off.upper
        result = verify(asked, gap=GAP, journal=journal)
        assert result.status == truth.status == "exact"
        assert abs(result.value - truth.value) <= GAP
        assert verify(asked, gap=GAP, journal=journal).statistics.solves == 0


@pytest.mark.parametrize("change", ["substr(state, 2)", "'[]'", "x'ff'", "NULL", '\'{"elapsed": "long"}\''])
def test_a_damaged_row_of_a_run_is_passed_over(change: str, tmp_path: Path) -> None:
    run(tmp_path, "margin")
    with closing(sqlite3.connect(tmp_path / NAME)) as base, base:
        base.execute(f"UPDATE run SET state = {change}")
    with pytest.raises(JournalError, match="no run yet"):
        read_state(tmp_path)
    run(tmp_path, "margin")
    assert read_state(tmp_path).runs == 1
    assert read_state(tmp_path).state["reason"] == "gap-closed"


def test_a_run_killed_again_and_again_gets_there(tmp_path: Path) -> None:
    """Each start is killed after some more statements than the one before needed to take up what was kept."""
    kept = 0
    for stop in (30, 60, 90):
        assert killed(tmp_path, "margin", stop)[0] == -signal.SIGKILL
        assert len(answered(tmp_path)) >= kept
        kept = len(answered(tmp_path))
    assert kept
    same(run(tmp_path, "margin")[0], "margin")
    assert max(Counter(answered(tmp_path)).values()) == 1


@pytest.mark.parametrize("loss", [*LOSSES, "hinge", "cw"])
def test_what_is_done_is_not_done_again(loss: str, tmp_path: Path) -> None:
    first, second = run(tmp_path, loss)[0], run(tmp_path, loss)[0]
    assert first.statistics.solves >= 5
    assert (second.statistics.solves, second.statistics.attack_seconds) == (0, 0.0)
    assert second.attacks == first.attacks
    assert (second.status, second.vouched_upper) == (first.status, first.vouched_upper)
    assert second.value == pytest.approx(first.value, abs=GAP)


def fresh(problem: WdroProblem, folder: Path, **options: object) -> tuple[VerificationResult, VerificationResult]:
    """The answer without a journal, and with that of another question."""
    with Journal(folder) as journal:
        return verify(problem, **options), verify(problem, journal=journal, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", LOSSES)
def test_another_radius_takes_up_what_stays_true(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdaverify.wdro.dispatch._LARGEST_BUNDLE", 1)
    run(tmp_path, loss)
    plain, helped = fresh(question(loss, 0.07), tmp_path)
    assert (plain.status, helped.status) == ("exact", "exact")
    assert helped.value == pytest.approx(plain.value, abs=2 * GAP)
    assert helped.statistics.solves < plain.statistics.solves
    [notice] = [n for n in helped.notices if n.startswith("journal:")]
    assert "reused" in notice
    assert "left aside" not in notice


@pytest.mark.parametrize("loss", LOSSES)
def test_another_norm_takes_up_points_alone(loss: str, tmp_path: Path) -> None:
    run(tmp_path, loss)
    plain, helped = fresh(question(loss, norm=Norm.ONE), tmp_path)
    assert helped.value == pytest.approx(plain.value, abs=2 * GAP)
    [notice] = [n for n in helped.notices if n.startswith("journal:")]
    assert "0 fact(s)" in notice
    assert "hold for another norm and are left aside" in notice
    with Journal(tmp_path) as journal:
        assert verify(question(loss, norm=Norm.ONE), journal=journal).statistics.solves == 0


@pytest.mark.parametrize("loss", ["hinge", "cw"])
def test_a_floor_takes_up_the_margin(loss: str, tmp_path: Path) -> None:
    """Both losses are made of the same functionals."""
    run(tmp_path, "margin")
    plain, helped = fresh(question(loss), tmp_path)
    assert helped.value == pytest.approx(plain.value, abs=2 * GAP)
    assert "reused" in " ".join(helped.notices)
    assert " 0 fact(s)" not in " ".join(helped.notices)


def test_a_solvers_word_is_no_use_to_a_checked_run(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        first = verify(question("margin"), solver="highs", journal=journal)
        again = verify(question("margin"), solver="highs", journal=journal)
        own = verify(question("margin"), journal=journal)
    assert (first.vouched_upper, again.vouched_upper, own.vouched_upper) == ("solver", "solver", "checked")
    assert again.statistics.solves == 0
    assert own.statistics.solves > 0
    assert any("a MIP solver's word, and are left aside" in notice for notice in own.notices)
    assert own.value == pytest.approx(first.value, abs=2 * GAP)


def test_a_bound_that_is_not_true_does_not_pass_a_point(tmp_path: Path) -> None:
    """Whoever writes a false bound with its checksum gets no bracket below a point that was found."""
    truth = run(tmp_path, "margin")[0]
    from dataclasses import replace

    from wdaverify.journal.facts import digest, fact_sum

    with Journal(tmp_path) as journal:
        [scope] = [s for s in journal.scopes() if s.fields["kind"] == "bounds"]
        for number, fact in enumerate(journal.facts(scope), 1):
            forged = replace(fact, value=fact.value - 1.0)
            row = (forged.value, fact_sum(scope, forged, digest(fact.proof) if fact.proof else b""), number)
            journal._base.execute("UPDATE fact SET value = ?, sum = ? WHERE id = ?", row)
    result = run(tmp_path, "margin")[0]
    assert result.lower <= truth.upper
    assert result.upper >= truth.lower


def test_the_cost_and_support_of_a_fact_count(tmp_path: Path) -> None:
    """Facts of a box are no facts of a larger one, nor those of a cost of one with weights."""
    from dataclasses import replace

    from wdaverify import Support

    run(tmp_path, "margin")
    for changed in (
        replace(question("margin"), support=Support.box(-1.0, 2.0, 4)),
        replace(question("margin"), cost=GroundCost(Norm.INF, 1, np.array([0.5, 0.5, 1.0, 1.0]))),
        replace(question("margin"), cost=GroundCost(Norm.INF, 2)),
    ):
        plain, helped = fresh(changed, tmp_path)
        assert helped.value == pytest.approx(plain.value, abs=2 * GAP)
        assert "journal: 0 fact(s)" in " ".join(helped.notices)


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_journal_cut_short_costs_facts_and_not_the_answer(share: float, tmp_path: Path) -> None:
    run(tmp_path, "margin")
    os.truncate(tmp_path / NAME, int(share * (tmp_path / NAME).stat().st_size))
    result = run(tmp_path, "margin")[0]
    same(result, "margin")
    assert any("damaged" in notice for notice in result.notices)
    again = run(tmp_path, "margin")[0]
    same(again, "margin")
    assert again.statistics.solves == 0
    assert not any("damaged" in notice for notice in again.notices)


def test_more_samples_take_up_what_is_known_of_some(tmp_path: Path) -> None:
    from dataclasses import replace

    from wdaverify import load_samples

    some = replace(question("margin"), samples=load_samples(MODELS / "iris_8x8.npz", limit=12))
    with Journal(tmp_path) as journal:
        first = verify(some, journal=journal)
    assert first.statistics.solves > 0
    result, _ = run(tmp_path, "margin")
    same(result, "margin")
    assert any("reused" in notice and " 0 fact(s)" not in notice for notice in result.notices)


# The command line


def process(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wdaverify", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_kill_status_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of two workers, killed with some facts in its journal, whatever it was about to do."""
    folder, target = tmp_path / "run", tmp_path / "out.json"
    parent = process("verify", NET, DATA, "--radius", "0.05", "--jobs", "2", "--run", folder, "--output", target)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and parent.poll() is None:
        time.sleep(0.01)
        try:
            if read_state(folder).facts >= 60:
                break
        except JournalError:  # not begun yet
            continue
    parent.kill()
    parent.communicate()
    assert not target.exists()
    assert cli._run(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "cut off; wdaverify resume" in said
    assert cli._run(["status", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["process"] is None
    assert found["facts"] >= 60
    assert cli._run(["resume", str(folder)]) == 0
    capsys.readouterr()
    written = json.loads(target.read_text())
    truth = uninterrupted("margin")[0]
    assert written["lower"] == pytest.approx(truth.value, abs=2 * GAP)
    assert written["upper"] == pytest.approx(truth.value, abs=2 * GAP)
    assert cli._run(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "ended: gap-closed" in said
    assert "2 run(s)" in said


def test_resume_names_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(Path(DATA).read_bytes())
    here = os.getcwd()
    assert cli._run(["verify", NET, str(data), "--radius", "0.01", "--run", str(tmp_path / "run"), "--jobs", "1"]) == 0
    with np.load(data) as arrays:
        np.savez(data, **{**arrays, "x": arrays["x"] * 0.5})
    capsys.readouterr()
    assert cli._run(["resume", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert str(data) in said
    assert "has changed" in said
    data.unlink()
    assert cli._run(["resume", str(tmp_path / "run")]) == 2
    assert "is gone" in capsys.readouterr().err
    assert os.getcwd() == here


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "{}"], ["holds no journal", "--run"]),
        (["resume", "{}"], ["holds no journal", "--run"]),
        (["verify", NET, DATA, "--radius", "0.05", "--run", NET], ["cannot be made"]),
    ],
)
def test_refusals(arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run([argument.format(tmp_path) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_a_run_that_is_at_work_is_not_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path) as journal:
        journal.begin({"arguments": ["info", NET], "folder": ".", "files": {}})
        assert cli._run(["verify", NET, DATA, "--radius", "0.05", "--run", str(tmp_path)]) == 2
        assert f"process {os.getpid()}" in capsys.readouterr().err
        assert cli._run(["status", str(tmp_path)]) == 0
        assert f"at work (process {os.getpid()})" in capsys.readouterr().out


# Certificates, distances and curves


@pytest.mark.parametrize("loss", LOSSES)
def test_a_certificate_is_made_of_what_was_kept(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees outlive their run: what is taken up is proved by the independent checker, at another radius too."""
    monkeypatch.setattr("wdaverify.wdro.dispatch._LARGEST_BUNDLE", 1)
    with Journal(tmp_path) as journal:
        first = verify(question(loss), journal=journal, certificate=True)
        again = verify(question(loss), journal=journal, certificate=True)
        farther = verify(question(loss, 0.07), journal=journal, certificate=True)
    plain = verify(question(loss, 0.07), certificate=True)
    assert (first.status, again.status, farther.status) == ("exact", "exact", "exact")
    assert again.statistics.solves == 0 < farther.statistics.solves < plain.statistics.solves
    for result, radius in ((again, 0.05), (farther, 0.07)):
        assert result.certificate is not None
        assert recheck(result.certificate, question(loss, radius)).proved
        assert result.vouched_upper == "proved"


def test_a_certificate_leaves_bounds_without_trees_aside(tmp_path: Path) -> None:
    run(tmp_path, "margin")
    with Journal(tmp_path) as journal:
        result = verify(question("margin"), journal=journal, certificate=True)
    assert result.status == "exact"
    assert result.vouched_upper == "proved"
    assert any("have no trees that can be read, which a certificate needs" in notice for notice in result.notices)


def test_trees_that_cannot_be_read_are_left_aside(tmp_path: Path) -> None:
    """A journal whose checksums agree and whose proofs are none: the bounds that they showed are proven again."""
    with Journal(tmp_path) as journal:
        first = verify(question("margin"), journal=journal, certificate=True)
    bomb = BytesIO()
    np.savez_compressed(bomb, tree_near=np.zeros(2**24), nodes=np.zeros(3))
    with Journal(tmp_path) as journal:
        scope = next(s for s in journal.scopes() if s.fields["kind"] == "bounds")
        facts = [replace(fact, proof=bomb.getvalue()) for fact in journal.facts(scope)]
    (tmp_path / NAME).unlink()
    with Journal(tmp_path) as journal:
        journal.add(journal.scope(scope.fields), facts=facts)
        again = verify(question("margin"), journal=journal, certificate=True)
    assert (again.status, again.vouched_upper) == ("exact", "proved")
    assert again.statistics.solves > 0
    assert again.value == pytest.approx(first.value, abs=GAP)
    assert any(f"{len(facts)} fact(s) have no trees that can be read" in notice for notice in again.notices)


@pytest.mark.parametrize("certificate", [False, True])
def test_proofs_are_read_only_by_runs_that_prove(certificate: bool, tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        first = verify(question("margin"), journal=journal, certificate=True)
    read: list[str] = []

    def watched(action: int, table: str | None, column: str | None, *_: object) -> int:
        if (action, table, column) == (sqlite3.SQLITE_READ, "fact", "proof"):
            read.append("proof")
        return sqlite3.SQLITE_OK

    with Journal(tmp_path) as journal:
        journal._base.set_authorizer(watched)
        again = verify(question("margin"), journal=journal, certificate=certificate)
    assert again.statistics.solves == 0 < first.statistics.solves
    assert bool(read) == certificate
    assert again.value == pytest.approx(first.value, abs=2 * GAP)


@pytest.mark.parametrize(("begun", "gone_on", "printed"), [(["--quiet"], [], True), ([], ["--quiet"], False)])
def test_resume_prints_unless_it_is_told_not_to(
    begun: list[str], gone_on: list[str], printed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what was typed stays what is resumed."""
    folder = str(tmp_path / "run")
    assert cli._run(["verify", NET, DATA, "--radius", "0.05", "--samples", "3", "--run", folder, *begun]) == 0
    assert bool(capsys.readouterr().out) != printed
    for _ in range(2):
        assert cli._run(["resume", folder, *gone_on]) == 0
        out, err = capsys.readouterr()
        assert bool(out) == printed
        assert ("journal:" in err) == printed
        shown = f"note: in {os.getcwd()}: wdaverify verify {NET} {DATA} --radius 0.05 --samples 3 {' '.join(begun)} --run {folder}"
        assert (shown in err) == printed  # whose command it was is not for the journal alone to know
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(f'[[job]]\nnetwork = "{NET}"\ndata = "{DATA}"\nradius = 0.05\nsamples = 3\n')
    assert cli._run(["batch", str(jobs), "--run", folder, *begun]) == 0
    capsys.readouterr()
    assert cli._run(["resume", folder, *gone_on]) == 0
    assert bool(capsys.readouterr().out) == printed


def test_a_resumed_run_writes_to_its_log(tmp_path: Path) -> None:
    """What was typed is run again whole: the log in front of the command, and an image shape of several words."""
    log, page = tmp_path / "run.log", tmp_path / "out.html"
    typed = ["verify", NET, DATA, "--radius", "0.05", "--samples", "5", "--image-shape", "2", "2"]
    typed += ["--report", str(page), "--log", str(log), "--run", str(tmp_path / "run"), "--quiet"]
    assert cli._run(typed) == 0
    before = len(log.read_text())
    page.unlink()
    assert cli._run(["resume", str(tmp_path / "run")]) == 0
    assert page.stat().st_size > 1000
    fresh = log.read_text()[before:]
    assert "question: margin loss" in fresh
    assert "exit status 0" in fresh


def test_distances_and_curves_share_a_journal(tmp_path: Path) -> None:
    asked = question("zero-one")
    with Journal(tmp_path) as journal:
        first = distances(asked, journal=journal)
        again = distances(asked, journal=journal)
        steps = curve(asked, journal=journal)
        lines = curve(question("margin"), journal=journal)
        lines_again = curve(question("margin"), journal=journal)
    assert first.exact
    assert again.exact
    assert first.solves > 0 == again.solves == lines_again.solves
    assert [b.upper for b in again.brackets] == pytest.approx([b.upper for b in first.brackets], abs=1e-6)
    assert steps.exact
    plain = curve(question("margin"))
    assert lines_again.exact
    assert lines_again.upper[-1] == pytest.approx(plain.upper[-1], abs=2 * GAP)
    assert lines.solves > 0
    assert any("reused" in notice for notice in (*again.notices, *lines_again.notices))


def test_a_resumed_run_begins_with_what_was_proven(tmp_path: Path) -> None:
    """Its first bracket is the journal's best dual, at whichever multiplier, before anything is asked."""
    truth = run(tmp_path, "margin")[0]
    with Journal(tmp_path) as journal:
        again = verify(question("margin"), journal=journal, gap=1e-12, time_limit=1e-3)
    assert again.statistics.solves == 0
    assert again.upper <= truth.upper + 1e-9


def unsearched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with what they begin with."""
    monkeypatch.setattr(MarginSearch, "search", lambda _: Reason.TIME_LIMIT)


@pytest.mark.parametrize("order", [1, 2])
def test_a_resumed_run_on_the_whole_space_begins_with_what_was_proven(
    order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(question("margin"), support=Support.whole(4), cost=GroundCost(Norm.INF, order))
    with Journal(tmp_path) as journal:
        first = verify(asked, journal=journal, gap=1e-4)
        unsearched(monkeypatch)
        again = verify(asked, journal=journal, gap=1e-12)
    assert (first.status, again.statistics.solves) == ("exact", 0)
    assert again.lower <= again.upper <= first.upper + 1e-9
    assert again.upper >= first.lower
    assert verify(asked).upper > first.upper + 1e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_points_of_a_journal_that_there_is_no_time_to_value_are_left(loss: str, tmp_path: Path) -> None:
    truth = run(tmp_path, loss)[0]
    with Journal(tmp_path) as journal:
        again = verify(question(loss), journal=journal, time_limit=0.0, gap=1e-12)
    assert again.nominal == again.lower < truth.lower
    assert again.upper >= truth.lower
