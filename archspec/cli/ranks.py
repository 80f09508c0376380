"""Commands that run on several ranks: starting them, and one voice for all of them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.errors import INTERRUPTED, DivergedError, RunError
from archspec.train.checkpoint_names import list_checkpoints
from archspec.train.failure import Failure, error_file
from archspec.train.launch import is_launched, launch

if TYPE_CHECKING:
    from archspec.train.world import World

# Ranks import the archspec that this process imported, wherever they are started.
_RUN = """\
import sys
sys.path[:] = {path!r}
from archspec.cli import main
sys.exit(main({words!r}))"""
SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOn:
    """How a run that failed goes on, if it got as far as a checkpoint.

    Attributes:
        out: The run directory.
        checkpoints: Where its checkpoints are.
        began: When this session of it began; an older run is none of its business.
    """

    out: Path
    checkpoints: Path
    resumed: bool
    began: float = field(default_factory=time.time)

    def after(self, exit_status: int) -> str:
        """Return what to add to the message of a failure."""
        saved = list_checkpoints(self.checkpoints)
        if exit_status == DivergedError.exit_status or not saved:
            return ""
        if not self.resumed and saved[-1].stat().st_mtime < self.began:
            return ""
        return (
            f"\nThe last checkpoint is {saved[-1]}; go on with\n"
            f"  archspec train --resume {self.out}"
        )


def is_rank() -> bool:
    """Tell whether this process is one of several that somebody started together."""
    return is_launched() or _number("WORLD_SIZE", 1) > 1


def run_ranks(words: Sequence[str], *, nproc: int, way_on: WayOn) -> int:
    """Run this command on several ranks of this machine and say what went wrong, if anything did.

    Args:
        words: The command line, without the program's name.
        nproc: Ranks.
        way_on: What a run that fails is told.
    """
    command = [sys.executable, "-c", _RUN.format(path=sys.path, words=list(words))]
    end = launch(command, nproc=nproc)
    if end.fault is not None:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)  # a live view that was killed has left it hidden
        _say(words[0], end.fault + way_on.after(end.exit_status))
    elif end.interrupted and end.statuses[0] != INTERRUPTED:
        print(f"archspec {words[0]}: interrupted", file=sys.stderr)
    return end.exit_status


@contextlib.contextmanager
def one_voice(command: str, world: World | None, way_on: WayOn | None = None) -> Iterator[None]:
    """Let of all ranks that fail one say so, and the others end without a word.

    Ranks of ours leave word for the launcher, which knows of all. Under torchrun the first to fail
    speaks, or, before ranks know each other, the one of number 0. A process alone fails as ever.

    Args:
        command: The name of the command.
        world: The ranks, once they have met.
        way_on: What a run that fails is told, once it is known.
    """
    if not is_rank():
        yield
        return
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    try:
        yield
    except KeyboardInterrupt:
        if rank == 0:
            raise
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (told by the launcher, or below)
        failure = Failure.of_exception(error, rank=rank, size=size)
        path = error_file()
        if path is not None:
            failure.write(path)
        speaks = rank == 0 if world is None else world.takes("failure")
        if speaks and not is_launched():
            _say(command, str(failure) + (way_on.after(failure.exit_status) if way_on else ""))
        sys.exit(failure.exit_status)


def check_nproc(nproc: int | None) -> None:
    """Check a number of ranks to start. Raises RunError."""
    if nproc is None or is_launched():
        return
    if nproc < 1:
        raise RunError(f"--nproc must be at least 1, but it is {nproc}")
    if is_rank():
        raise RunError(
            f"--nproc {nproc} starts ranks, but this process is one of "
            f"{os.environ['WORLD_SIZE']} that torchrun started; give one of the two"
        )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default  # a bad one is refused on entering


def _say(command: str, message: str) -> None:
    print(f"archspec {command}: error:\n{message}", file=sys.stderr, flush=True)
