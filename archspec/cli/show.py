"""``archspec show``: what a document says once everything is filled in."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, add_set, console, declare


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "show",
        run,
        summary="print a document with every default filled in, one layer per line",
        example="archspec show specs/models/tiny.yaml --resolved\n"
        "archspec show specs/models/tiny.yaml --origin --set d_model=128",
    )
    parser.add_argument("spec", metavar="SPEC", help="a document of any kind")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--resolved",
        action="store_true",
        help="the canonical form of a model: equal designs print equal text, with their hash",
    )
    form.add_argument(
        "--origin",
        action="store_true",
        help="a table of every value with the file and line that it comes from",
    )
    add_set(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the document as YAML that loads again to the same value, or where it comes from."""
    from archspec.spec.load import read_document, resolve

    root = read_document(arguments.spec, None, arguments.overrides)
    if arguments.origin:
        from archspec.report.origins import origins_view
        from archspec.spec.origins import origins

        console().print(origins_view(origins(root)))
        return 0
    from archspec.report.documents import document_yaml

    print(document_yaml(resolve(root), canonical=arguments.resolved), end="")
    return 0
