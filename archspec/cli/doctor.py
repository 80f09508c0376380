"""``archspec doctor``: what this machine has, and which kernels run on it."""

from __future__ import annotations

import argparse
import dataclasses

from archspec.cli.command import Subparsers, add_json, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "doctor",
        run,
        summary="say which implementation of each op runs on this machine, and why no better one",
        example="archspec doctor --json\nARCHSPEC_KERNELS=torch archspec doctor",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found."""
    from archspec.kernels.doctor import diagnose
    from archspec.report.doctor import doctor_view

    found = diagnose()
    if arguments.json:
        print_json(dataclasses.asdict(found))
    else:
        console().print(doctor_view(found))
    return 0
