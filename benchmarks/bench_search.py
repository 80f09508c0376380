"""Compare our samplers with Optuna's own at equal evaluations, and write docs/search_proof.md.

On synthetic placements whose best design is known exactly, on a space small enough to list, and on
the table of trained models that `bench_search_table` makes, if it is there. What is done is kept in
runs/search_proof, so a run that is stopped goes on when it is started again. Results and figures go
to benchmarks/results/. About 25 minutes on two cores.
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
from archspec.search.share import feasible_share
from archspec.units import format_duration
from benchmarks.search.campaign import Done, Job, jobs, run_jobs
from benchmarks.search.finished import Finished
from benchmarks.search.losses import STRUCTURES
from benchmarks.search.page import page
from benchmarks.search.plot import plot
from benchmarks.search.problems import HEADLINE, PLACEMENT, RARE, SMALL, placements
from benchmarks.search.report import Report, SpaceFacts, report_from_json, report_json
from benchmarks.search.table import COMMAND, FILE, Table
from benchmarks.search.timing import TIMED, time_proposals

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "search_proof.md"
STEM = "search"
RUNS = ROOT / "runs" / "search_proof"
QUICK_SEEDS, QUICK_EVALUATIONS = 2, 14


def main(arguments: list[str] | None = None) -> int:
    """Search, or load; then write raw results, figures and page."""
    parser = argparse.ArgumentParser(prog="benchmarks search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds of one problem, no page")
    parser.add_argument("--seeds", type=int, default=20, metavar="N")
    parser.add_argument("--evaluations", type=int, default=100, metavar="N")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="what is done")
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
    """Run what is missing."""
    started = datetime.datetime.now(datetime.UTC)
    table, missing = read_table(given.table)
    todo = list(
        jobs(
            seeds=QUICK_SEEDS if given.quick else given.seeds,
            evaluations=QUICK_EVALUATIONS if given.quick else given.evaluations,
            table=None if table is None else given.table,
            structures=[HEADLINE.structure] if given.quick else STRUCTURES,
        )
    )
    done = complete(todo, given.runs, given.processes)
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=sum(one.seconds for one in done),
        machine=machine(),
        quick=given.quick,
        evaluations=min(job.evaluations for job in todo),
        seeds=QUICK_SEEDS if given.quick else given.seeds,
        results=tuple(result for one in done for result in one.results),
        timings=tuple(time_proposals(name, trials=40 if given.quick else 1000) for name in TIMED),
        spaces={path.stem: space_facts(path) for path in (PLACEMENT, SMALL, RARE)},
        table=None if table is None else table.facts(),
        missing=missing,
    )


def complete(todo: list[Job], folder: Path, processes: int) -> list[Done]:
    """Run the jobs that no earlier run has finished; return what came of all."""
    finished, began = Finished(folder), time.perf_counter()
    left = [job for job in todo if finished.get(job) is None]
    print(f"{len(todo)} problems, {len(todo) - len(left)} of them done in {folder}", flush=True)
    for number, (job, done) in enumerate(run_jobs(left, processes), 1):
        finished.put(job, done)
        seconds = format_duration(time.perf_counter() - began)
        print(f"{number} of {len(left)}: {job.name}, {seconds} so far", flush=True)
    found = [finished.get(job) for job in todo]
    return [done for done in found if done is not None]


def space_facts(document: Path) -> SpaceFacts:
    """Return how large a space is, and how much of it fits."""
    allowed = placements(document)
    share = feasible_share(allowed).value
    assert share is not None, "designs that fit are met"
    return SpaceFacts(designs=allowed.space.num_designs, fitting=share)


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
