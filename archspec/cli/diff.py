"""``archspec diff``: the values that two models differ in, and what each of them does."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, add_json, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "diff",
        run,
        summary="print the values that two models differ in, and what each does by itself",
        example="archspec diff specs/models/dense_1.3b.yaml specs/models/moe_1.3b.yaml",
    )
    parser.add_argument("first", metavar="A", help="a model document")
    parser.add_argument("second", metavar="B", help="the one it is compared with")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; that there are some is no failure."""
    from archspec.cost.difference import model_difference
    from archspec.spec.load import read_document

    first, second = (read_document(path, "model") for path in (arguments.first, arguments.second))
    difference = model_difference(first, second)
    if arguments.json:
        print_json(difference.as_dict())
        return 0
    from archspec.report.difference import difference_view

    console().print(difference_view(difference))
    return 0
