"""What handing questions over costs: own processes and a Dask cluster of local processes on one workload.

    python benchmarks/throughput.py [NAME]

Prints for each: seconds of the whole run, questions, questions a second, and, for the cluster, how many bundles they travelled
in and what share of the solving time handing these over took (their number times the round trip of an empty one).
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from workloads import WORKLOADS

from wdaverify import verify


class Counting(Executor):
    """An executor that counts what it is handed."""

    def __init__(self, inner: Executor) -> None:
        self._inner, self.bundles = inner, 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.bundles += 1
        return self._inner.submit(fn, *args, **kwargs)


def nothing() -> None:
    """An empty task."""


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """A client of a scheduler and workers, each a process of its own on this machine."""
    from distributed import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rsplit(":", 1)[1]
    start = [sys.executable, "-m"]
    made = [
        [*start, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-show", "--no-dashboard"]
    ]
    made += [
        [*start, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    ] * workers
    running = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in made]
    try:
        with Client(address, timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
            yield client
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="digits_16x16-n50-r0.05-margin-inf")
    workload = WORKLOADS[parser.parse_args().name]
    print("| who | seconds | questions | a second | bundles | handing over |\n|---|---|---|---|---|---|")
    for jobs in (1, 2):
        result = verify(workload.problem(), gap=workload.gap, jobs=jobs, device="cpu")
        s = result.statistics
        print(f"| {jobs} own process(es) | {s.seconds:.2f} | {s.solves} | {s.solves / s.seconds:.1f} | | |", flush=True)
    for workers in (1, 2):
        with cluster(workers) as client:
            executor = Counting(client.get_executor(pure=False))
            result = verify(workload.problem(), gap=workload.gap, jobs=workers, executor=executor, device="cpu")
            trips = []
            for _ in range(50):
                begun = time.perf_counter()
                client.submit(nothing, pure=False).result()
                trips.append(time.perf_counter() - begun)
        s, trip = result.statistics, statistics.median(trips)
        share = executor.bundles * trip / s.solve_seconds
        cells = f"{s.seconds:.2f} | {s.solves} | {s.solves / s.seconds:.1f} | {executor.bundles}"
        print(f"| Dask, {workers} worker(s) | {cells} | {100 * share:.2f} % ({1e3 * trip:.1f} ms each) |", flush=True)


if __name__ == "__main__":
    main()
