"""The command line: parse arguments, call one function, render, map errors to exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from archspec.errors import INTERRUPTED, ArchspecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done, 1 a fault of ours (with a traceback), 2 bad input, 3 training diverged, 130 interrupted.
    """
    from archspec.cli.parser import build_parser

    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a terminal without ² should still get its table
    words = tuple(sys.argv[1:] if argv is None else argv)
    arguments = build_parser().parse_args(words, argparse.Namespace(words=words))
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except ArchspecError as error:
        print(f"archspec {arguments.command}: error:\n{error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(f"archspec {arguments.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status
