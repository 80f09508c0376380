"""The argument parser: one subcommand per module, each with ``add_parser`` and ``run``.

Command modules import nothing heavy at the top: torch and optuna come in inside ``run``, so that
``archspec summary`` answers in tens of milliseconds.
"""

from __future__ import annotations

import argparse
import functools

import archspec
from archspec.cli import (
    bench,
    check,
    compare,
    curves,
    diff,
    doctor,
    evaluate,
    export,
    hardware,
    kinds,
    plan,
    race,
    report,
    schema,
    search,
    show,
    study,
    summary,
    tokenize,
    train,
)

COMMANDS = (
    bench,
    check,
    compare,
    curves,
    diff,
    doctor,
    evaluate,
    export,
    hardware,
    kinds,
    plan,
    race,
    report,
    schema,
    search,
    show,
    study,
    summary,
    tokenize,
    train,
)

DESCRIPTION = """\
Declare a language model in YAML, see what it costs before anything is built, compile it to torch,
and search where dense, MoE, memory and shared-pool blocks belong under your budgets."""

EPILOG = """\
first steps:
  archspec kinds                                what blocks there are
  archspec summary specs/models/tiny.yaml       what a model costs, layer by layer
  archspec search specs/search/placement_tiny.yaml --out runs/tiny

exit status: 0 done, 1 a fault of archspec, 2 bad input, 3 training diverged, 130 interrupted"""


@functools.cache
def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="archspec",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"archspec {archspec.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
