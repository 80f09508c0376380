"""``archspec export``: the weights of a run as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from archspec.cli.command import Subparsers, add_json, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "export",
        run,
        summary="write the weights of a checkpoint, however sharded, as one safetensors file",
        example="archspec export runs/first --out first.safetensors",
    )
    parser.add_argument(
        "checkpoint", metavar="RUN_DIR", help="a run, whose newest is taken, or a checkpoint"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="file to make")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say how large it is."""
    from archspec.train.export import export_weights
    from archspec.train.load import find_checkpoint
    from archspec.units import format_bytes

    checkpoint, out = find_checkpoint(Path(arguments.checkpoint)), Path(arguments.out)
    size = export_weights(checkpoint, out)
    if arguments.json:
        print_json({"checkpoint": str(checkpoint), "file": str(out), "bytes": size})
        return 0
    console().print(f"Wrote {format_bytes(size)} of {checkpoint} to {out}.", soft_wrap=True)
    return 0
