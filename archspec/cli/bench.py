"""``archspec bench``: measure the kernels beside the stock ways of doing the same work."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare

if TYPE_CHECKING:
    from archspec.bench.results import Report


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "bench",
        run,
        summary="measure the kernels beside stock torch, in one run with equal results",
        example="archspec bench kernels --quick\n"
        "archspec bench kernels --only forward step --json > kernels.json\n"
        "archspec bench kernels --load kernels.json --png kernels.png",
    )
    parser.add_argument("what", choices=["kernels"], help="what to measure")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="where; default a GPU if there is one"
    )
    add_json(parser)
    parser.add_argument("--png", metavar="FILE", help="also draw bandwidths and times into a file")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, in seconds: does everything work"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CASE", help="measure these cases only"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads; default all cores")
    parser.add_argument(
        "--load", metavar="FILE", help="show what --json wrote before, and measure nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, or load, then print and draw."""
    _require_one_source(arguments)
    if arguments.png is not None:
        from archspec.report.bench_plot import require_plot_path

        require_plot_path(arguments.png)
    report = _measured(arguments) if arguments.load is None else _loaded(arguments.load)
    if arguments.png is not None:
        from archspec.report.bench_plot import plot_bench

        plot_bench(report, arguments.png)
    if arguments.json:
        from archspec.bench.results import report_json

        print(report_json(report), end="")
    else:
        from archspec.report.bench import bench_view

        out = console()
        out.print(bench_view(report, width=out.width))
    report.require_agreement()
    return 0


def _require_one_source(arguments: argparse.Namespace) -> None:
    from archspec.errors import BenchmarkError

    given = [
        f"--{name}" for name in ("device", "quick", "only", "threads") if getattr(arguments, name)
    ]
    if arguments.load is not None and given:
        raise BenchmarkError(
            f"--load shows a run that was measured before; leave out {' and '.join(given)}"
        )


def _measured(arguments: argparse.Namespace) -> Report:
    from archspec.bench.kernels import bench_kernels

    return bench_kernels(
        arguments.device,
        only=arguments.only,
        quick=arguments.quick,
        threads=arguments.threads,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )


def _loaded(file: str) -> Report:
    from archspec.bench.results import report_from_dict
    from archspec.errors import BenchmarkError

    try:
        value = json.loads(pathlib.Path(file).read_text())
    except OSError as error:
        raise BenchmarkError(f"--load: {file}: {error.strerror}") from None
    except ValueError as error:
        raise BenchmarkError(f"--load: {file} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise BenchmarkError(f"--load: {file} holds no benchmark; write one with --json")
    return report_from_dict(value)
