"""``archspec show``: what a document says once everything is filled in."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, declare


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "show",
        run,
        summary="print a document with every default filled in, one layer per line",
        example="archspec show specs/models/tiny.yaml --resolved",
    )
    parser.add_argument("spec", metavar="SPEC", help="a document of any kind")
    parser.add_argument(
        "--resolved",
        action="store_true",
        help="the canonical form of a model: equal designs print equal text, with their hash",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the document as YAML that loads again to the same value."""
    from archspec.report.documents import document_yaml
    from archspec.spec.load import load

    print(document_yaml(load(arguments.spec), canonical=arguments.resolved), end="")
    return 0
