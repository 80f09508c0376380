"""``archspec study``: work on a search's saved trials."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, declare
from archspec.cli.study_solve import add_solve, add_sweep


def add_parser(commands: Subparsers) -> None:
    """Declare the command and what it can do."""
    parser = declare(
        commands,
        "study",
        _print_help,
        summary="solve a search's saved scores for other budgets",
        example="archspec study solve runs/tiny --budget flops_per_token=0.9x",
    )
    parser.set_defaults(parser=parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add_solve(actions)
    add_sweep(actions)


def _print_help(arguments: argparse.Namespace) -> int:
    arguments.parser.print_help()
    return 0
