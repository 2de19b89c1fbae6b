"""Run named workloads with their baselines and write benchmarks/RESULTS.md and results.json.

python benchmarks/run.py --list                     # every name there is
python benchmarks/run.py                            # the default set (hours); --quick: within 10 minutes on 2 cores
python benchmarks/run.py iris-30 'digits_16x16-n10-*' --repeats 5 --no-baselines
python benchmarks/run.py --validate-scaling         # is the extrapolation of slow baselines right? (in the default set)

Rows of what is not run are kept. Ctrl-C ends the run; what was finished is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fresh
import scaling
from contenders import BASELINES, Plan, measure, tell, validate
from machine import revision, stamp
from record import HERE, Record
from table import write
from workloads import WORKLOADS, chosen

from wdaverify import verify

VALIDATED = "digits_16x16-n100-r0.05-margin-inf"
MEMORY = ("digits_16x16-n50-r0.05-margin-inf", "digits_32x32_robust-n10-r0.02-margin-inf", "nv_mnist_784-30-20-10")
EXTRAS = ("start-up", "memory")


class ChangedError(Exception):
    """The files that are measured changed under the measurement."""


@dataclass(frozen=True)
class _Files:
    """Where the answers go."""

    results: Path
    table: Path


class _Writer(Record):
    """A record that brings the table up to date whenever it is saved."""

    def __init__(self, files: _Files, jobs: int) -> None:
        super().__init__(files.results, stamp(jobs))
        self._table = files.table
        self.keep(rows=WORKLOADS, memory=MEMORY, series=scaling.SERIES)

    def save(self) -> None:
        super().save()
        write(self._table, self.data)


def names() -> list[str]:
    """Everything that can be asked for."""
    return [*WORKLOADS, *EXTRAS, *scaling.SERIES]


def listing() -> str:
    """A line for each name: whether it belongs to the default and the quick set, and why it is skipped here."""
    out = []
    for name, workload in WORKLOADS.items():
        sets = [word for word, member in (("default", workload.default), ("quick", workload.quick)) if member]
        reason = workload.skipped()
        out.append(f"{name:48} {', '.join(sets):16}{f'skipped: {reason}' if reason else ''}".rstrip())
    out += [
        f"{name:48} default, quick" if name == "start-up" else f"{name:48} default"
        for name in (*EXTRAS, *scaling.SERIES)
    ]
    return "\n".join(out)


def _asked(options: argparse.Namespace) -> list[str]:
    if options.patterns:
        return chosen(names(), options.patterns)
    if options.quick:
        return [*(name for name, w in WORKLOADS.items() if w.quick), "start-up"]
    return [*(name for name, w in WORKLOADS.items() if w.default), *EXTRAS, *scaling.SERIES]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="NAME", help="names or patterns such as '*-zero-one-*'")
    parser.add_argument("--list", action="store_true", help="show every name and end")
    parser.add_argument("--quick", action="store_true", help="the quick set: 1 repeat, baselines capped at 60 s")
    parser.add_argument("--repeats", type=int, help="turns (3)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each, for everybody (2)")
    parser.add_argument("--no-baselines", action="store_true", help="our own runs alone")
    parser.add_argument(
        "--against",
        action="append",
        choices=BASELINES,
        metavar="WHO",
        help="a baseline that takes part (each); may be given again",
    )
    parser.add_argument(
        "--baseline-samples", type=int, default=3, metavar="N", help="naive baselines run on N samples (3)"
    )
    parser.add_argument("--baseline-limit", type=float, metavar="S", help="cap of a baseline's run (300; quick 60)")
    parser.add_argument("--limit", type=float, metavar="S", help="cap of a run of our own (900; quick 120)")
    parser.add_argument("--validate-scaling", action="store_true", help=f"the naive loop on all samples of {VALIDATED}")
    parser.add_argument("--results", type=Path, default=HERE / "results.json", help="the JSON file")
    parser.add_argument("--table", type=Path, default=HERE / "RESULTS.md", help="the file with the markers")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    quick = options.quick
    return Plan(
        jobs=options.jobs,
        repeats=options.repeats or (1 if quick else 3),
        baselines=not options.no_baselines,
        baseline_samples=options.baseline_samples,
        baseline_limit=options.baseline_limit or (60.0 if quick else 300.0),
        own_limit=options.limit or (120.0 if quick else 900.0),
        against=tuple(options.against or ()),
    )


def _run(asked: Sequence[str], plan: Plan, record: Record, *, quick: bool) -> None:
    begun = revision()
    for name in asked:
        if revision() != begun:
            raise ChangedError(f"files changed since {begun}: what would be measured now is something else")
        try:
            _one(name, plan, record, quick=quick)
        except Exception as error:  # noqa: BLE001  the others go on
            reason = f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
            tell(f"{name}: {reason}")
            record.skip(name, reason)


def _one(name: str, plan: Plan, record: Record, *, quick: bool) -> None:
    if name in WORKLOADS:
        reason = WORKLOADS[name].skipped()
        if reason is not None:
            tell(f"{name}: skipped, {reason}")
            record.skip(name, f"skipped: {reason}")
            return
        measure(WORKLOADS[name], plan, record)
    elif name == "start-up":
        record.ran(name)
        record.put("startup", "`import wdaverify`", fresh.import_times())
        record.put("startup", "`wdaverify info digits_16x16.onnx`", fresh.info_times())
        tell(f"{name}: done")
    elif name == "memory":
        record.ran(name)
        _peaks(plan, record)
    else:
        record.ran(name)
        scaling.measure(name, plan, record, quick=quick)


def _peaks(plan: Plan, record: Record) -> None:
    for workload in MEMORY:
        name, reason = f"memory: {workload}", WORKLOADS[workload].skipped()
        if reason is not None:
            tell(f"{name}: skipped, {reason}")
            record.skip(name, f"skipped: {reason}")
            continue
        record.ran(name)
        record.put("memory", workload, fresh.peak(workload, plan.jobs, plan.own_limit))
        tell(f"{name}: done")


def _warm_up() -> None:
    """Load what a run loads, so that the first repeat does not pay for it alone."""
    verify(WORKLOADS["iris-30"].problem(1), device="cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list:
        print(listing())
        return 0
    try:
        asked = [] if options.validate_scaling and not options.patterns else _asked(options)
        whole = not (options.patterns or options.quick or options.no_baselines or options.against)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    plan, record = _plan(options), _Writer(_Files(options.results, options.table), options.jobs)
    try:
        _warm_up()
        if options.validate_scaling or whole:
            validate(WORKLOADS[VALIDATED], plan, record)
        _run(asked, plan, record, quick=options.quick)
    except KeyboardInterrupt:
        tell(f"interrupted; what was finished is in {options.results} and {options.table}")
        return 130
    except ChangedError as error:
        tell(f"{error}; what was finished is in {options.results} and {options.table}")
        return 1
    return 0
