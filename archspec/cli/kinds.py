"""``archspec kinds``: which blocks and attentions there are, and the keys of one of them."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, add_json, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "kinds",
        run,
        summary="list the types of blocks and attention, or the keys of one with their meaning",
        example="archspec kinds shared_pool",
    )
    parser.add_argument("type", nargs="?", metavar="TYPE", help="a type of block or attention")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the types or the keys of one type."""
    from archspec.blocks.registry import config_class, kinds
    from archspec.errors import ArchspecError, suggest
    from archspec.report.kinds import describe_fields, fields_table, kinds_table
    from archspec.spec.attention.registry import ATTENTIONS

    blocks = {name: config_class(name) for name in sorted(kinds())}
    listed = {**blocks, **{f"attention.{name}": config for name, config in ATTENTIONS.items()}}
    if arguments.type is None:
        rows = {name: (config.__doc__ or "").partition("\n")[0] for name, config in listed.items()}
        if arguments.json:
            print_json(rows)
        else:
            console().print(kinds_table(rows))
        return 0
    types = {**ATTENTIONS, **listed}  # the short name of an attention, unless a block has it
    if arguments.type not in types:
        raise ArchspecError(f"unknown type {arguments.type!r}; {suggest(arguments.type, types)}")
    config = types[arguments.type]
    if arguments.json:
        print_json([vars(row) for row in describe_fields(config)])
    else:
        console().print(fields_table(config))
    return 0
