"""``archspec check``: are documents right, and if not, what is wrong where."""

from __future__ import annotations

import argparse

from archspec.cli.command import Subparsers, add_json, add_set, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "check",
        run,
        summary="check documents of any kind and report every problem with its line",
        example="archspec check specs/models/*.yaml",
    )
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="documents of any kind")
    add_set(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per document, or its problems; return 2 if any has problems."""
    from archspec.errors import SpecError
    from archspec.report.documents import document_line
    from archspec.spec.load import load

    results: list[dict[str, object]] = []
    for path in arguments.specs:
        problems: list[str] = []
        try:
            lines = [f"{path}: ok, {document_line(load(path, arguments.overrides))}"]
        except SpecError as error:
            lines = problems = list(map(str, error.problems))
        results.append({"file": path, "ok": not problems, "problems": problems})
        if not arguments.json:
            print("\n".join(lines))
    bad = sum(not result["ok"] for result in results)
    if arguments.json:
        print_json(results)
    elif bad:
        print(f"{bad} of {len(results)} documents have problems")
    return 2 if bad else 0
