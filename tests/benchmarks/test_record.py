"""The registry, what is kept of earlier runs, and the generated tables."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import contenders
import numpy as np
import pytest
import scaling
import session as runner
from attacks_table import attacks_table
from contenders import Plan
from outcome import Outcome
from record import HERE, Record
from sources import MODELS, PROPERTIES, box_of, properties, random_network
from table import BEGIN, END, generated, seconds_for_all, write
from workloads import COUNTS, LOSSES, NETWORKS, NORMS, RADII, WORKLOADS, Workload, chosen

from wdaverify.attacks.run import run_attacks
from wdaverify.witness.decide import errors
from wdaverify.witness.evaluate import distances_up

STAMP = {"date": "2030-01-01", "revision": "abc", "machine": "M", "python": "3", "versions": {"numpy": "2"}, "jobs": 2}
DONE = Outcome("done", 10.0, 50, -1.0, -0.9999995, note="12 solves", facts={"attacks": {}})


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "results.json", STAMP)


def test_the_cross_product_is_registered_and_the_default_set_has_every_value() -> None:
    names = ["-".join((n, f"n{c}", f"r{r}", x, y)) for n, c, r, x, y in product(NETWORKS, COUNTS, RADII, LOSSES, NORMS)]
    assert set(names) <= set(WORKLOADS)
    default = [w for name, w in WORKLOADS.items() if w.default and name in names]
    assert {w.samples for w in default} == set(COUNTS)
    assert {w.radius for w in default} == set(RADII)
    assert {w.loss for w in default} == set(LOSSES)
    assert {w.norm for w in default} == set(NORMS)
    assert {w.name.split("-")[0] for w in default} == set(NETWORKS)
    assert len(WORKLOADS["main-job"].settings) > 2


def test_names_and_patterns() -> None:
    assert chosen(list(WORKLOADS), ["iris-30"]) == ["iris-30"]
    found = chosen(list(WORKLOADS), ["digits_16x16-n10-*-margin-?"])
    assert found == [f"digits_16x16-n10-r{r}-margin-1" for r in RADII]
    with pytest.raises(LookupError, match="nothing is named mnits"):
        chosen(list(WORKLOADS), ["mnits*"])


def test_list_names_everything_and_shows_what_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WDAVERIFY_INSTANCES", raising=False)
    monkeypatch.setenv("WDAVERIFY_REALWORLD", "/nowhere/at/all")
    assert runner.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == runner.names()
    assert set(WORKLOADS) | set(scaling.SERIES) <= set(runner.names())
    said = {line.split()[0]: line for line in lines}
    assert said["digits_64x64x64_robust-n10"].endswith("skipped: WDAVERIFY_INSTANCES is not set")
    assert said["cartpole"].endswith("skipped: WDAVERIFY_REALWORLD=/nowhere/at/all is not a folder")
    assert "skipped" not in said["iris-30"]


def test_a_missing_folder_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WDAVERIFY_INSTANCES", raising=False)
    table = tmp_path / "RESULTS.md"
    table.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    name = "digits_64x64x64_robust-n10"
    assert runner.main([name, "--results", str(tmp_path / "r.json"), "--table", str(table)]) == 0
    assert f"| {name} | skipped: WDAVERIFY_INSTANCES is not set |" in table.read_text()


@pytest.mark.parametrize("error", [BrokenExecutor("terminated abruptly"), ValueError("ragged")])
def test_who_fails_is_a_row(monkeypatch: pytest.MonkeyPatch, record: Record, error: Exception) -> None:
    def dead() -> Outcome:
        raise error

    monkeypatch.setattr(contenders, "_contenders", lambda *_: {"wdaverify": lambda: DONE, "naive Gurobi": dead})
    plan = Plan(jobs=1, repeats=2, baselines=True, baseline_samples=1, baseline_limit=1.0, own_limit=1.0)
    contenders.measure(WORKLOADS["iris-30"], plan, record)
    shown = cells(generated(record.data), "iris-30", "naive Gurobi")
    assert (shown[2], shown[9]) == ("failed", f"{type(error).__name__}: {error}")
    assert record.data["rows"]["iris-30"]["wdaverify"]["seconds"] == [10.0, 10.0]


def test_ctrl_c_leaves_what_was_finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted() -> Outcome:
        raise KeyboardInterrupt

    parts = {"wdaverify": lambda: DONE, "limit": interrupted}
    monkeypatch.setattr(contenders, "_contenders", lambda *_: parts)
    table = tmp_path / "RESULTS.md"
    table.write_text(f"{BEGIN}\n{END}\n")
    assert runner.main(["iris-30", "cartpole", "--results", str(tmp_path / "r.json"), "--table", str(table)]) == 130
    assert "| iris-30 | wdaverify |" in table.read_text()
    assert list(json.loads((tmp_path / "r.json").read_text())["rows"]) == ["iris-30"]


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["no-such-thing"]) == 2
    assert "no-such-thing" in capsys.readouterr().err


def test_only_what_is_between_the_markers_is_replaced(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    before, after = "# Head\n\nby hand | kept\n", "\n## Tried\n\n| a | b |\n"
    path.write_text(f"{before}{BEGIN}\nold table\n{END}{after}")
    record.row("iris-30", "wdaverify", [DONE], 50)
    for _ in range(2):
        write(path, record.data)
        text = path.read_text()
        assert text.startswith(before + BEGIN)
        assert text.endswith(END + after)
        assert "old table" not in text
        assert "| iris-30 | wdaverify |" in text
    path.write_text("no markers")
    with pytest.raises(ValueError, match="marker"):
        write(path, record.data)
    assert path.read_text() == "no markers"


def test_the_file_of_the_project_has_the_markers() -> None:
    text = (HERE / "RESULTS.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert "## Tried, and what came of it" in text.split(END)[1]


def test_a_partial_run_keeps_the_rows_of_others(record: Record) -> None:
    record.row("iris-30", "wdaverify", [DONE], 50)
    record.row("cartpole", "wdaverify", [DONE], 50)
    later = Record(record.path, {**STAMP, "date": "2031-02-03", "machine": "another"})
    later.row("cartpole", "wdaverify", [DONE, DONE], 50)
    data = json.loads(record.path.read_text())
    made = {name: data["stamps"][data["rows"][name]["wdaverify"]["stamp"]] for name in ("iris-30", "cartpole")}
    assert (made["iris-30"]["date"], made["iris-30"]["machine"]) == ("2030-01-01", "M")
    assert (made["cartpole"]["date"], made["cartpole"]["machine"]) == ("2031-02-03", "another")
    text = generated(data)
    assert "2030-01-01" in text
    assert "2031-02-03" in text


def cells(text: str, workload: str, who: str) -> list[str]:
    line = next(x for x in text.splitlines() if x.startswith(f"| {workload} | {who} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_extrapolation_and_caps_are_marked(record: Record) -> None:
    few = Outcome("done", 8.0, 5, -1.0, -1.0, startup=2.0)
    record.row("iris-30", "wdaverify", [DONE], 50)
    record.row("iris-30", "naive Gurobi", [few], 50)
    record.row("iris-30", "naive HiGHS", [Outcome("limit", 8.0, 5, -2.0, -1.0, startup=2.0)], 50)
    record.row("iris-30", "one MILP", [Outcome("refused", note="too large")], 50)
    record.row("iris-30", "limit", [Outcome("done", 4.0, 50, -1.0, -1.0)], 50)
    text = generated(json.loads(record.path.read_text()))
    shown = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| iris-30 |")]
    assert shown == ["wdaverify", "limit", "naive Gurobi", "naive HiGHS", "one MILP"]
    assert cells(text, "iris-30", "naive Gurobi")[5:8] == ["5 of 50", "62.0 extrapolated", "6.2 (6.0)"]
    capped = cells(text, "iris-30", "naive HiGHS")
    assert capped[2].startswith("not done")
    assert capped[3] == "> 8.00"
    assert capped[5:8] == ["5 of 50", "> 8.0", "> 0.8 (> 0.6)"]  # a cap is no measure of the other samples
    assert cells(text, "iris-30", "one MILP")[2:4] == ["refused", "-"]
    assert cells(text, "iris-30", "limit")[7] == "the run takes 2.50 times this"
    assert cells(text, "iris-30", "wdaverify")[6:8] == ["10.0", "-"]
    assert seconds_for_all(record.data["rows"]["iris-30"]["naive Gurobi"]) == few.scaled(50) == 62.0


def test_one_open_run_makes_the_row_open(record: Record) -> None:
    record.row("iris-30", "wdaverify", [DONE, Outcome("limit", 60.0, 50, -2.0, 1.0), DONE], 50)
    row = record.data["rows"]["iris-30"]["wdaverify"]
    assert (row["state"], row["lower"], row["upper"]) == ("limit", -2.0, 1.0)


def test_the_attacks_table(record: Record) -> None:
    facts: dict[str, Any] = {
        "nominal": -3.0,
        "attacks": {"WDA(1)": -2.5, "WDA(2)": -2.0, "WDA++": -1.5, "mixture": -1.2},
        "attack_seconds": 2.0,
    }
    name = "digits_16x16-n10-r0.05-margin-inf"
    record.row(name, "wdaverify", [Outcome("done", 10.0, 10, -1.0, -1.0, facts=facts)], 10)
    row = [cell.strip() for cell in attacks_table(record.data).splitlines()[-1].strip("|").split("|")]
    assert row[1:4] == ["2.00", "20 %", "-3.000000"]
    assert row[4:7] == ["WDA(2): -2.000000 (50.0 %)", "-1.500000 (75.0 %)", "-1.200000 (90.0 %)"]
    assert row[8] == "yes"
    facts["attacks"]["mixture"] = -1.6
    record.row(name, "wdaverify", [Outcome("done", 10.0, 10, -1.0, -1.0, facts=facts)], 10)
    assert "**no**" in attacks_table(record.data)


def test_a_series_keeps_numbers_and_a_picture(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    source = random_network([2, 3, 2])
    points = [scaling.Point(n, f"{n}", Workload(f"{n}", source, n, 0.1, "margin", "inf")) for n in (1, 2)]
    for throughput, figure in ((False, "seconds"), (True, "points a second")):
        series = scaling.Series("Title", "samples", figure, points, 1, throughput)
        monkeypatch.setitem(scaling.SERIES, "tiny", series)
        plan = Plan(jobs=1, repeats=1, baselines=False, baseline_samples=1, baseline_limit=60.0, own_limit=60.0)
        scaling.measure("tiny", plan, record, quick=False)
        found = json.loads(record.path.read_text())["series"]["tiny"]["points"]
        assert [point["x"] for point in found if point["group"] == ("CPU, one thread" if throughput else "")] == [1, 2]
        assert all(point["y"] > 0 for point in found)
        assert "<svg" in (record.path.parent / "pictures" / "tiny.svg").read_text()
        assert "![Title](pictures/tiny.svg)" in generated(record.data)


def test_points_of_a_series_that_are_not_run_again_stay(record: Record) -> None:
    entry, point = {"title": "T", "x": "n", "y": "s"}, {"group": "", "state": "done", "note": ""}
    record.series("tiny", entry, {"x": 2, "label": "2", "y": 5.0, **point})
    record.series("tiny", entry, {"x": 1, "label": "1", "y": 3.0, **point})
    later = Record(record.path, {**STAMP, "date": "2031-02-03"})
    whole = later.series("tiny", entry, {"x": 2, "label": "2", "y": 4.0, **point})
    assert [(p["x"], p["y"], p["stamp"]) for p in whole["points"]] == [(1, 3.0, "1"), (2, 4.0, "2")]
    assert set(later.data["stamps"]) == {"1", "2"}
    assert "| 2 | 4 |  | 2 |" in generated(later.data)


def test_rows_of_two_sessions_are_not_divided(record: Record) -> None:
    record.row("iris-30", "naive Gurobi", [Outcome("done", 80.0, 50, -1.0, -1.0)], 50)
    later = Record(record.path, {**STAMP, "date": "2031-02-03"})
    later.row("iris-30", "wdaverify", [DONE], 50)
    assert cells(generated(later.data), "iris-30", "naive Gurobi")[7] == "another session"
    later.row("iris-30", "naive Gurobi", [Outcome("done", 80.0, 50, -1.0, -1.0)], 50)
    assert cells(generated(later.data), "iris-30", "naive Gurobi")[7] == "8.0 (8.0)"


def test_no_ratio_without_an_answer_or_to_another_question(record: Record) -> None:
    record.row("iris-30", "wdaverify", [DONE], 50)
    for who, state in (("naive Gurobi", "open"), ("naive HiGHS", "wrong"), ("one MILP", "done")):
        record.row("iris-30", who, [Outcome(state, 80.0, 50, -1.0, -1.0)], 50)
        assert cells(generated(record.data), "iris-30", who)[7] == "-"
    record.row("iris-30", "wdaverify", [Outcome("open", 10.0, 50, -1.0, 0.0)], 50)
    record.row("iris-30", "naive Gurobi", [Outcome("done", 80.0, 50, -1.0, -1.0)], 50)
    assert cells(generated(record.data), "iris-30", "naive Gurobi")[7] == "the run is open"


@pytest.mark.parametrize(
    ("who", "lower", "upper", "wrong"),
    [
        ("plain Gurobi", -1.0, -1.0, False),
        ("plain Gurobi", -1.000001, -1.000001, False),
        ("plain Gurobi", -1.1, -1.1, True),
        ("naive HiGHS", -0.9, -0.9, True),
        ("naive HiGHS", "inf", "inf", True),
        ("one MILP", -1.1, None, False),
        ("one MILP", -0.9, None, True),
    ],
)
def test_answers_that_contradict_ours_are_said(record: Record, who: str, lower: Any, upper: Any, wrong: bool) -> None:
    record.row("iris-30", who, [Outcome("done", 80.0, 50, lower, upper, facts={"ours": [-1.0, -0.9999995]})], 50)
    assert cells(generated(record.data), "iris-30", who)[2].startswith("**contradicts ours**") is wrong


def test_baselines_are_set_beside_our_answer_on_their_samples(record: Record) -> None:
    plan = Plan(jobs=1, repeats=1, baselines=True, baseline_samples=2, baseline_limit=60.0, own_limit=60.0)
    for name, count in (("iris-30", 2), ("iris-30-zero-one", 4)):
        workload = replace(WORKLOADS[name], samples=4)
        contenders.measure(workload, replace(plan, against=("naive Gurobi", "plain Gurobi")), record)
        rows = record.data["rows"][name]
        row = rows["naive Gurobi" if name == "iris-30" else "plain Gurobi"]
        assert (row["state"], row["samples"]) == ("done", count)
        low, high = row["facts"]["ours"]
        assert low == pytest.approx(row["lower"], abs=3e-6)
        assert high == pytest.approx(row["upper"], abs=3e-6)
    assert "contradicts" not in generated(record.data)


def test_a_part_that_fails_is_a_line_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing() -> dict[str, Any]:
        raise ValueError("no\nJSON")

    monkeypatch.setattr(contenders, "_contenders", lambda *_: {"wdaverify": lambda: DONE})
    monkeypatch.setattr(runner.fresh, "import_times", failing)
    monkeypatch.setattr(runner, "names", lambda: ["start-up", "iris-30"])
    table = tmp_path / "RESULTS.md"
    table.write_text(f"{BEGIN}\n{END}\n")
    given = ["*", "--results", str(tmp_path / "r.json"), "--table", str(table)]
    assert runner.main(given) == 0
    assert "| start-up | failed: ValueError: no JSON | 1 |" in table.read_text()
    assert "| iris-30 | wdaverify |" in table.read_text()


def test_files_that_change_end_the_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contenders, "_contenders", lambda *_: {"wdaverify": lambda: DONE})
    seen = iter(["abc", "abc", "abc+"])
    monkeypatch.setattr(runner, "revision", lambda: next(seen))
    table = tmp_path / "RESULTS.md"
    table.write_text(f"{BEGIN}\n{END}\n")
    given = ["iris-30", "iris-30-zero-one", "--results", str(tmp_path / "r.json"), "--table", str(table)]
    assert runner.main(given) == 1
    assert "files changed since abc" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "r.json").read_text())["rows"]) == ["iris-30"]


def test_what_has_no_name_any_more_is_forgotten(record: Record, tmp_path: Path) -> None:
    record.row("of-old", "wdaverify", [DONE], 50)
    table = tmp_path / "RESULTS.md"
    table.write_text(f"{BEGIN}\n{END}\n")
    writer = runner._Writer(runner._Files(record.path, table), 1)
    writer.row("iris-30", "wdaverify", [DONE], 50)
    assert list(json.loads(record.path.read_text())["rows"]) == ["iris-30"]


def test_bundled_models_are_where_the_registry_looks() -> None:
    assert {path.stem for path in MODELS.glob("*.onnx")} >= {*NETWORKS, "iris_8x8"}


def test_images_of_specs_are_images(realworld: Path) -> None:
    """Pixels are whole grey levels, and each lies within 0.03 of every bound of its spec."""
    network, samples, _ = properties(PROPERTIES)
    assert samples.x.shape == (PROPERTIES, 784)
    assert samples.x * 255 == pytest.approx(np.round(samples.x * 255), abs=1e-4)
    assert (network.forward(samples.x).argmax(axis=1) == samples.y).all()
    low, high = box_of(gzip.decompress((realworld / "specs" / "prop_3_0.03.vnnlib.gz").read_bytes()).decode())
    assert np.clip(samples.x[3] - 0.03, 0, 1) == pytest.approx(low, abs=1e-6)
    assert np.clip(samples.x[3] + 0.03, 0, 1) == pytest.approx(high, abs=1e-6)


def test_every_image_has_an_error_although_gradients_find_none(realworld: Path) -> None:
    """Around two of the images the margins are flat up to the whole box; other images lead to errors, which are pulled in."""
    problem = WORKLOADS["mnist-net_256x2-distances"].problem()
    near = {}
    for everyone in (True, False):
        found = run_attacks(replace(problem, radius=0.005), device="cpu", everyone=everyone)
        distance = distances_up(problem.cost, found.point, problem.samples.x[found.sample])
        wrong = errors(problem.network, found.point, problem.samples.y[found.sample])
        near[everyone] = [distance[wrong & (found.sample == i)].min(initial=np.inf) for i in range(PROPERTIES)]
    assert max(near[True]) < 0.12
    assert near[True][12] == pytest.approx(0.0049, abs=1e-4)
    assert near[False] == pytest.approx(
        near[True], rel=0.2
    )  # what the budget buys none of is approached once all the same


def test_the_cart_pole_is_drawn_from_its_specs(realworld: Path) -> None:
    first, again = (WORKLOADS["cartpole"].problem() for _ in range(2))
    assert first.samples.sha256 == again.samples.sha256
    assert set(first.samples.y.tolist()) == {0, 1}
    low, high = box_of((realworld / "specs" / "cartpole_case_safe_99.vnnlib").read_text())
    assert low == pytest.approx([0.4724894173747478, -0.6875905126252522, 0.021629274374747848, 0.8835106873747478])
    assert ((first.support.lower <= low) & (high <= first.support.upper)).all()


def test_the_full_run_is_set_beside_its_extrapolation(record: Record) -> None:
    name = "digits_16x16-n10-r0.05-margin-inf"
    record.row(name, "naive Gurobi", [Outcome("done", 8.0, 2, -1.0, -1.0, startup=2.0)], 10)
    record.row(name, "naive Gurobi, all samples", [Outcome("done", 30.0, 10, -1.0, -1.0, startup=2.0)], 10)
    full = cells(generated(record.data), name, "naive Gurobi, all samples")
    assert full[6] == "30.0"
    assert full[9].endswith("extrapolated from 2 samples it was 32.0 s")
