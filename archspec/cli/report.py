"""``archspec report``: what a search found, in the terminal, as a page, or as pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_json

if TYPE_CHECKING:
    from archspec.search.findings import Findings
    from archspec.search.opened import SearchRun


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "report",
        run,
        summary="report what a search found, or found so far",
        example=(
            "archspec report runs/tiny\n"
            "archspec report runs/tiny --html runs/tiny/report.html --png runs/tiny/pictures"
        ),
    )
    parser.add_argument("run_directory", metavar="RUN", help="the directory of a search")
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="write one page with everything in it instead; needs matplotlib",
    )
    parser.add_argument(
        "--png",
        metavar="FILE|DIR",
        help="draw all pictures into one .png or .svg instead, or into a folder a .png each",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="of a search that still runs, if its storage has a password",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Report."""
    from archspec.report.found.text import run_report
    from archspec.search.findings import find
    from archspec.search.opened import open_run

    opened = open_run(Path(arguments.run_directory), storage=arguments.storage)
    findings = find(opened)
    for path in _write_files(arguments, opened, findings):
        console().print(f"Written: {path}", markup=False, soft_wrap=True)
    if arguments.json:
        print_json(
            {
                "results": opened.results.model_dump(mode="json"),
                "findings": findings.model_dump(mode="json"),
            }
        )
    elif not (arguments.html or arguments.png):
        screen = console()
        report = run_report(opened.results, findings, opened.out, width=screen.width)
        screen.print(report, crop=False)  # commands to copy may be wider than the screen
    return 0


def _write_files(
    arguments: argparse.Namespace, opened: SearchRun, findings: Findings
) -> list[Path]:
    from archspec.report.found.page import write_page
    from archspec.report.found.pictures import write_pictures

    written = []
    if arguments.png:
        written += write_pictures(opened.results, findings, arguments.png)
    if arguments.html:
        write_page(
            opened.results,
            findings,
            arguments.html,
            out=opened.out,
            documents=opened.documents,
        )
        written.append(Path(arguments.html))
    return [] if arguments.json else written
