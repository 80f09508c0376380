"""``archspec schema``: JSON Schema of the documents, for editors."""

from __future__ import annotations

import argparse
import pathlib

from archspec.cli.command import Subparsers, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "schema",
        run,
        summary="print the JSON Schema of a kind of document, for editors to complete and check",
        example="archspec schema model > model.json",
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help="a kind of document")
    parser.add_argument("--out", metavar="DIR", help="write every kind to DIR/KIND.json instead")


def run(arguments: argparse.Namespace) -> int:
    """Print one schema, or write all of them."""
    from archspec.errors import ArchspecError, suggest
    from archspec.spec.documents import DOCUMENTS
    from archspec.spec.json_schema import document_schema, schema_text

    if arguments.out is not None:
        folder = pathlib.Path(arguments.out)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in DOCUMENTS:
            path = folder / f"{kind}.json"
            path.write_text(schema_text(kind))
            print(path)
        return 0
    if arguments.kind not in DOCUMENTS:
        named = "which kind?" if arguments.kind is None else f"unknown kind {arguments.kind!r};"
        raise ArchspecError(f"{named} {suggest(arguments.kind or '', DOCUMENTS)}")
    print_json(document_schema(arguments.kind))
    return 0
