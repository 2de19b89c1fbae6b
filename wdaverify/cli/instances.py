"""``wdaverify batch`` of a list in VNN-COMP's form: every instance is checked, within its own time limit."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wdaverify.cli.exits import DONE, IN_REALS, INTERRUPTED, LIMIT, REFUSED
from wdaverify.cli.files import check_target
from wdaverify.cli.terminal import live_line, notes, one_line, put, say
from wdaverify.cores import cores
from wdaverify.errors import InputError, OutputError

if TYPE_CHECKING:
    from wdaverify.instances_file import Instance
    from wdaverify.report.instances import InstanceResult

_NAMES = 34
"""Columns of a name in the table, at most."""
_NO_FILE = re.compile(r"[^\w.+=@ -]")


def check_instances(
    instances: Sequence[Instance],
    output: str | None,
    page: Callable[[dict[str, Any]], None] | None,
    certificates: str | None,
    others: Sequence[str],
    quiet: bool,
) -> int:
    """Check all of them, each printed as it ends; then the files and the sums."""
    from wdaverify.report.as_json import write
    from wdaverify.report.instances import instances_json, instances_summary

    proofs = _proofs(instances, certificates, others)
    results, interrupted = _answers(instances, proofs, quiet)
    try:
        made = instances_json(results) if output is not None or page is not None else {}
        if output is not None:
            write(output, made)
        if page is not None:
            page(made)
    finally:
        if not quiet:
            say(instances_summary(results, _width(instances)).rpartition("\n\n")[2])
        faults = [(row.name, why) for row in results for why in (row.refused, row.fault) if why]
        for name, why in faults:
            put(f"wdaverify: error: instance {name}: {why}", sys.stderr)
    if interrupted:
        return INTERRUPTED
    lacking = {row.word for row in results if not row.done}
    if faults or not lacking:
        return REFUSED if faults else DONE
    return IN_REALS if lacking == {"sat-in-real-arithmetic"} else LIMIT


def _width(instances: Sequence[Instance]) -> int:
    return min(_NAMES, max(len(one.name) for one in instances))


def _proofs(instances: Sequence[Instance], folder: str | None, others: Sequence[str]) -> list[str]:
    """Where each certificate goes, "" for none."""
    if folder is None:
        return [""] * len(instances)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OutputError(f"--certificates {folder}: the folder cannot be made ({why})") from None
    out = [os.path.join(folder, f"{k}-{_NO_FILE.sub('_', one.name)[:150]}.cert") for k, one in enumerate(instances, 1)]
    for target in out:
        check_target("--certificates", target, others)
    return out


def _answers(instances: Sequence[Instance], proofs: Sequence[str], quiet: bool) -> tuple[list[InstanceResult], bool]:
    """One after the other, until one is interrupted."""
    from wdaverify.checking.result import Ended
    from wdaverify.report.instances import InstanceResult, instance_line, instances_summary

    out = [InstanceResult(one.name, one.network, one.specification, one.time_limit) for one in instances]
    width = _width(instances)
    if not quiet:
        say(instances_summary([], width).partition("\n")[0])
    for k, one in enumerate(instances):
        try:
            out[k] = _answered(out[k], one, proofs[k], quiet)
        except KeyboardInterrupt:
            return out, True
        found = out[k].result
        if not quiet:
            say(instance_line(out[k], width))
        if found is not None and found.ended is Ended.INTERRUPTED:
            return out, True
    return out, False


def _answered(row: InstanceResult, one: Instance, proof: str, quiet: bool) -> InstanceResult:
    """One instance; its certificate is written at once."""
    from wdaverify.certify.unsat import write_unsat
    from wdaverify.checking.check import check

    try:
        with live_line(quiet) as live:
            result = check(
                one.network_path,
                one.specification_path,
                time_limit=one.time_limit,
                jobs=cores(),
                certificate=bool(proof),
                progress=live,
            )
    except InputError as error:
        return replace(row, refused=one_line(str(error)))
    notes([f"instance {one.name}: {notice}" for notice in result.notices], quiet)
    fault, written = "", None
    if result.certificate is not None:
        try:
            write_unsat(proof, result.certificate)
            written = proof
        except OutputError as error:
            fault = one_line(str(error))
    files: dict[str, Any] = {
        "network": one.network_path,
        "specification": one.specification_path,
        "certificate": written,
    }
    files |= {"logits": False, "output_name": None, "external_data": False}
    return replace(row, result=replace(result, certificate=None), files=files, fault=fault)
