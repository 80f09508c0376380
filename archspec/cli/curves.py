"""``archspec curves``: the learning curves of runs, in the terminal or as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from archspec.cli.command import Subparsers, add_json, console, declare, print_csv, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "curves",
        run,
        summary="draw the learning curves of runs, while they run or after",
        example=(
            "archspec curves runs/first\n"
            "archspec curves runs/dense runs/memory --metric facts.accuracy --x flops "
            "--png curves.png"
        ),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="run directories")
    parser.add_argument(
        "--metric",
        default="loss",
        metavar="NAME",
        help="loss (default) or another figure of steps, such as grad_norm; or a metric of "
        "evaluations, such as facts.accuracy or evaluation.loss",
    )
    parser.add_argument(
        "--x",
        choices=("tokens", "flops", "seconds"),
        default="tokens",
        help="along what (default: tokens); flops are those of training",
    )
    parser.add_argument("--png", metavar="FILE", help="draw a picture, .png or .svg, instead")
    parser.add_argument("--csv", action="store_true", help="print every point as CSV instead")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw them."""
    from archspec.report.curves import curve_rows, curves_view, plot_curves
    from archspec.train.curves import load_curves

    runs = [Path(name) for name in arguments.runs]
    curves = load_curves(runs, metric=arguments.metric, axis=arguments.x)
    if arguments.png:
        plot_curves(curves, arguments.png)
    if arguments.csv:
        print_csv(curve_rows(curves))
    elif arguments.json:
        print_json(
            [
                {
                    "run": curve.name,
                    "metric": curve.metric,
                    "x": curve.axis,
                    "points": [list(point) for point in curve.points],
                }
                for curve in curves
            ]
        )
    elif not arguments.png:
        screen = console()
        screen.print(curves_view(curves, width=screen.width))
    return 0
