"""What every subcommand shares: how it is declared, and where it prints."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Subparsers = Any  # argparse keeps the type of add_subparsers() private


def declare(
    commands: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a subcommand with its help and its example, one command a line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="example:\n  " + example.replace("\n", "\n  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``, which any number of values may be given by."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="PATH=VALUE",
        help="set a value over the document, such as blocks.ffn.hidden_dim=4096 or layers[3]=ffn; "
        "may be repeated",
    )


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_csv(rows: Iterable[Sequence[object]]) -> None:
    """Print rows as CSV on standard output, numbers exact."""
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)


def console() -> Console:
    """Return the console that tables and text go to."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)
