"""Measure the kernels on this CPU beside stock torch, and write what docs/kernels.md shows.

Raw times go to benchmarks/results/ and the curves beside them, the tables into the page. Takes some
minutes and several GiB of memory. `make bench-gpu` measures a GPU; its file is then drawn by
`python -m benchmarks.bench_kernels --load FILE`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from archspec.bench.kernels import bench_kernels
from archspec.bench.results import report_from_dict, report_json
from archspec.report.bench_markdown import write_into
from archspec.report.bench_plot import plot_bench

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "kernels.md"


def main() -> int:
    """Measure, or load; then write the raw times, the plot and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", metavar="FILE", help="draw this run instead of measuring")
    file = parser.parse_args().load
    if file is not None:
        report = report_from_dict(json.loads(Path(file).read_text()))
    else:
        report = bench_kernels("cpu", progress=lambda line: print(line, flush=True))
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{report.file_stem}.json").write_text(report_json(report))
    report.require_agreement()
    plot_bench(report, str(RESULTS / f"{report.file_stem}.png"))
    PAGE.write_text(write_into(PAGE.read_text(), report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
