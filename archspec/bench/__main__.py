"""Measure the kernels where only torch is installed: ``PYTHONPATH=. python -m archspec.bench``.

Writes the report as JSON; ``archspec bench kernels --load FILE`` shows and draws it anywhere.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from archspec.bench.goals import goals
from archspec.bench.kernels import bench_kernels
from archspec.bench.results import Report, report_json
from archspec.errors import ArchspecError


def main() -> int:
    """Run, write the report and print the goals."""
    parser = argparse.ArgumentParser(prog="python -m archspec.bench", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where DEVICE.json goes")
    arguments = parser.parse_args()
    try:
        report = bench_kernels(
            arguments.device,
            only=arguments.only,
            quick=arguments.quick,
            threads=arguments.threads,
            progress=_say,
        )
    except ArchspecError as error:
        _say(f"error: {error}")
        return error.exit_status
    file = Path(arguments.out) / f"{report.file_stem}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report_json(report))
    for goal in goals(report):
        sign = "<=" if goal.at_most else ">="
        verdict = "met" if goal.met else "missed"
        _say(
            f"{goal.case} {goal.where}: {goal.figure:.2f} {goal.what}, "
            f"goal {sign} {goal.bound:.2f}: {verdict}"
        )
    _say(f"wrote {file}, {report.seconds:.0f} s")
    return _status(report)


def _status(report: Report) -> int:
    try:
        report.require_agreement()
    except ArchspecError as error:
        _say(f"error: {error}")
        return error.exit_status
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
