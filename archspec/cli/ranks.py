"""Commands that run on several ranks: starting them, and one voice for all of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from archspec.errors import INTERRUPTED
from archspec.train.launch import is_launched, launch

if TYPE_CHECKING:
    from archspec.train.world import World

# So that ranks import the archspec that this process imported, wherever they are started.
_RUN = "import sys; sys.path[:] = {path!r}; from archspec.cli import main; sys.exit(main({words!r}))"
SHOW_CURSOR = "\x1b[?25h"


def run_ranks(words: Sequence[str], *, nproc: int) -> int:
    """Run this command on several ranks of this machine and say what went wrong, if anything did.

    Args:
        words: The command line, without the program's name.
        nproc: Ranks.
    """
    command = [sys.executable, "-c", _RUN.format(path=sys.path, words=list(words))]
    end = launch(command, nproc=nproc)
    if end.fault is not None:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)  # a live view that was killed has left it hidden
        print(f"archspec {words[0]}: error:\n{end.fault}", file=sys.stderr)
    elif end.interrupted and end.statuses[0] != INTERRUPTED:
        print(f"archspec {words[0]}: interrupted", file=sys.stderr)
    return end.exit_status


@contextlib.contextmanager
def one_voice(command: str, world: World) -> Iterator[None]:
    """Let of all ranks that fail one say so, and the others end without a word.

    Ranks of ours leave word for the launcher, which knows of all; under torchrun the first to fail
    speaks. A process alone fails as ever.
    """
    if world.size == 1 and not is_launched():
        yield
        return
    from archspec.train.failure import Failure, error_file

    try:
        yield
    except KeyboardInterrupt:
        if world.is_first:
            raise
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (told by the launcher, or below)
        failure = Failure.of_exception(error, rank=world.rank, size=world.size)
        path = error_file()
        if path is not None:
            failure.write(path)
        if not is_launched() and world.takes("failure"):
            print(f"archspec {command}: error:\n{failure}", file=sys.stderr, flush=True)
        sys.exit(failure.exit_status)
