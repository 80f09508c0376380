"""``archspec kinds``: which blocks there are, and the keys of one of them."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, add_json, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "kinds",
        run,
        summary="list the block types, or the keys of one type with defaults and meaning",
        example="archspec kinds shared_pool",
    )
    parser.add_argument("type", nargs="?", metavar="TYPE", help="a block type")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the types or the keys of one type."""
    from archspec.blocks.registry import config_class, kinds
    from archspec.errors import ArchspecError, suggest
    from archspec.report.kinds import describe_fields, fields_table, kinds_table

    names = sorted(kinds())
    if arguments.type is None:
        rows = {name: (config_class(name).__doc__ or "").partition("\n")[0] for name in names}
        if arguments.json:
            print_json(rows)
        else:
            console().print(kinds_table(rows))
        return 0
    if arguments.type not in names:
        raise ArchspecError(
            f"unknown block type {arguments.type!r}; {suggest(arguments.type, names)}"
        )
    config = config_class(arguments.type)
    if arguments.json:
        print_json([vars(row) for row in describe_fields(config)])
    else:
        console().print(fields_table(config))
    return 0
