"""Measure training on this CPU beside other libraries, and write docs/training_speed.md.

Everybody trains on the same weights and batches, and losses are compared before times. Raw times go
to benchmarks/results/ with a plot beside them. Takes 10 to 12 minutes on two idle cores and 16 GiB.
Needs the extra `bench`; with --quick or --only, cases whose library is missing are skipped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from archspec.errors import BenchmarkError, suggest
from benchmarks.training import dense, experts, memory, slots
from benchmarks.training.measure import run_tasks
from benchmarks.training.page import page
from benchmarks.training.plot import plot
from benchmarks.training.report import Report, report_from_json, report_json
from benchmarks.training.tasks import Task

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "training_speed.md"
STEM = "training-cpu"
CASES: dict[str, Callable[..., Iterator[Task]]] = {
    "dense": dense.tasks,
    "moe": experts.tasks,
    "memory": memory.tasks,
    "slots": slots.tasks,
}
LIBRARIES = ("transformers", "product-key-memory")


def main(arguments: list[str] | None = None) -> int:
    """Measure, or load; then write the raw times, the plot and the page."""
    parser = argparse.ArgumentParser(prog="benchmarks train", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds, no page")
    parser.add_argument("--only", nargs="+", metavar="CASE", default=[], help=", ".join(CASES))
    parser.add_argument("--out", type=Path, metavar="DIR", help="write everything there instead")
    parser.add_argument("--load", type=Path, metavar="FILE", help="write up this run instead")
    given = parser.parse_args(arguments)
    whole = not (given.quick or given.only or given.load)
    missing = [name for name in LIBRARIES if installed(name) is None]
    if whole and missing:
        print(f"not installed: {', '.join(missing)}; run `make bench-train`")
        return 0
    try:
        report = (
            report_from_json(given.load.read_text())
            if given.load
            else measure(given.only, quick=given.quick)
        )
        report.require_agreement()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write(report, given.out, given.out / PAGE.name, plot_name=f"{STEM}.png")
    elif whole or given.load:
        write(report, RESULTS, PAGE, plot_name=f"../benchmarks/results/{STEM}.png")
    return 0


def measure(only: list[str], *, quick: bool) -> Report:
    """Run the cases named, or all of them."""
    for name in only:
        if name not in CASES:
            raise BenchmarkError(f"no case is called {name!r}; {suggest(name, CASES)}")
    cores = len(os.sched_getaffinity(0))
    threads = (1,) if quick or cores < 2 else (1, 2)
    chosen = [CASES[name] for name in CASES if not only or name in only]
    tasks = (task for case in chosen for task in case(threads, quick=quick))
    report = run_tasks(tasks, quick=quick, progress=lambda line: print(line, flush=True))
    versions = {**report.machine["versions"], **{name: installed(name) for name in LIBRARIES}}
    return replace(report, machine={**report.machine, "cores": cores, "versions": versions})


def installed(library: str) -> str | None:
    """Return the version of a distribution, None if it is missing."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def write(report: Report, folder: Path, text: Path, *, plot_name: str) -> None:
    """Write raw times, plot and page."""
    folder.mkdir(exist_ok=True)
    (folder / f"{STEM}.json").write_text(report_json(report))
    plot(report, str(folder / f"{STEM}.png"))
    text.write_text(page(report, plot_name))


if __name__ == "__main__":
    sys.exit(main())
