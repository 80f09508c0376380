"""Train the table of `bench_search`: each design of specs/search/table.yaml, with two seeds.

Writes benchmarks/results/search_table.csv after every training and goes on with what is there.
About 20 minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from archspec.errors import ArchspecError
from benchmarks.search.table import FILE, train_table


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing."""
    parser = argparse.ArgumentParser(prog="benchmarks search_table", description=__doc__)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--most", type=int, metavar="N", help="train no more than so many")
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        for line in train_table(given.out, processes=given.processes, most=given.most):
            print(line, flush=True)
    except ArchspecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
