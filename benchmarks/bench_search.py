"""Compare our samplers with Optuna's own at equal evaluations, and write docs/search_proof.md.

On synthetic placements whose best design is known exactly, and on the table of trained models that
`bench_search_table` makes, if it is there. Raw results go to benchmarks/results/ with the figures.
About ten minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: searches run side by side

from archspec.errors import ArchspecError
from benchmarks.search.campaign import jobs, run_jobs
from benchmarks.search.losses import STRUCTURES
from benchmarks.search.page import page
from benchmarks.search.plot import plot
from benchmarks.search.problems import HEADLINE
from benchmarks.search.report import Report, report_from_json, report_json
from benchmarks.search.table import COMMAND, FILE, Table
from benchmarks.search.timing import TIMED, time_proposals

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "search_proof.md"
STEM = "search"


def main(arguments: list[str] | None = None) -> int:
    """Search, or load; then write raw results, figures and page."""
    parser = argparse.ArgumentParser(prog="benchmarks search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds of one problem, no page")
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--evaluations", type=int, default=100, metavar="N")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--table", type=Path, default=FILE, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write everything there instead")
    parser.add_argument("--load", type=Path, metavar="FILE", help="write up this run instead")
    given = parser.parse_args(arguments)
    try:
        report = report_from_json(given.load.read_text()) if given.load else measure(given)
    except ArchspecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write(report, given.out, given.out / PAGE.name, figures="")
    elif not report.quick:
        write(report, RESULTS, PAGE, figures="../benchmarks/results/")
    return 0


def measure(given: argparse.Namespace) -> Report:
    """Run everything."""
    began, started = time.perf_counter(), datetime.datetime.now(datetime.UTC)
    table, missing = read_table(given.table)
    todo = list(
        jobs(
            seeds=2 if given.quick else given.seeds,
            evaluations=14 if given.quick else given.evaluations,
            table=None if table is None else given.table,
            structures=[HEADLINE.structure] if given.quick else STRUCTURES,
        )
    )
    results = []
    for number, result in enumerate(run_jobs(todo, given.processes), 1):
        results.append(result)
        if number % 20 == 0 or number == len(todo):
            print(
                f"{number} of {len(todo)} searches, {time.perf_counter() - began:.0f} s", flush=True
            )
    trials = 40 if given.quick else 1000
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - began,
        machine=machine(),
        quick=given.quick,
        evaluations=todo[0].evaluations,
        seeds=1 + max(job.seed for job in todo),
        results=tuple(results),
        timings=tuple(time_proposals(name, trials=trials) for name in TIMED),
        table=None if table is None else table.facts(),
        missing=missing,
    )


def read_table(path: Path) -> tuple[Table | None, str]:
    """Return the table of trained models, or why there is none."""
    if not path.exists():
        return None, f"there is no table yet; run `{COMMAND}`"
    table = Table.read(path)
    if table.missing:
        return None, f"the table lacks {table.missing} trainings; go on with `{COMMAND}`"
    return table, ""


def machine() -> dict[str, object]:
    """Return what was measured on."""
    return {
        "name": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "optuna")},
        },
    }


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def write(report: Report, folder: Path, text: Path, *, figures: str) -> None:
    """Write raw results, figures and page."""
    folder.mkdir(exist_ok=True)
    (folder / f"{STEM}.json").write_text(report_json(report))
    plot(report, folder)
    text.write_text(page(report, figures))


if __name__ == "__main__":
    sys.exit(main())
