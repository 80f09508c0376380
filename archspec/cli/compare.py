"""``archspec compare``: several models side by side, with ratios to the first."""

from __future__ import annotations

import argparse

from archspec.cli.command import (
    Subparsers,
    add_json,
    add_set,
    console,
    declare,
    print_csv,
    print_json,
)
from archspec.cli.setting import add_conventions, add_setting, hardware_of, setting_of


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "compare",
        run,
        summary="print what several models cost, side by side with ratios to the first",
        example="archspec compare specs/models/dense_1.3b.yaml specs/models/moe_1.3b.yaml\n"
        "archspec compare specs/models/*_1.3b.yaml --hardware h100 --batch 8 --plot models.png",
    )
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="model documents")
    add_set(parser)
    add_conventions(parser, default_length="the longest that every model allows")
    add_json(parser)
    parser.add_argument("--csv", action="store_true", help="print exact numbers as CSV instead")
    parser.add_argument(
        "--plot", metavar="FILE", help="also draw bars by layer into FILE.png or FILE.svg"
    )
    add_setting(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison."""
    from archspec.cost.compare import compare
    from archspec.errors import ArchspecError
    from archspec.spec.load import load_model

    specs = [load_model(path, arguments.overrides) for path in arguments.specs]
    hardware = hardware_of(arguments)
    setting = setting_of(arguments, seq_len=arguments.seq_len)
    try:
        comparison = compare(specs, setting, hardware)
    except ArchspecError:
        raise
    except ValueError as error:
        raise ArchspecError(str(error)) from None
    if arguments.plot is not None:
        from archspec.report.plot import plot_models

        plot_models(specs, arguments.plot, seq_len=arguments.seq_len, dtype=arguments.dtype)
    if arguments.json:
        print_json(comparison.as_dict())
    elif arguments.csv:
        from archspec.report.compare import comparison_rows

        print_csv(comparison_rows(comparison))
    else:
        from archspec.report.compare import comparison_view

        out = console()
        out.print(comparison_view(comparison, width=out.width))
    return 0
