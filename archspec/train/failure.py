"""What became of a rank that failed, written down for whoever started it; torch-free.

A launcher gives each rank a file (``TORCHELASTIC_ERROR_FILE``, which torchrun sets and reads too).
Of many ranks that fail, one caused it and the others lost their neighbour: :func:`find_cause` tells
them apart.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from archspec.errors import ArchspecError, OtherRankError
from archspec.train.files import replace_text

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"

# What gloo, NCCL and the store say when a process that they talk to is gone or does not answer.
_LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "timed out waiting",
    "wait timeout",
    "socket timeout",
    "failed to recv",
    "remote process exited",
    "communicator was aborted",
    "watchdog caught collective operation timeout",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a rank failed.

    Attributes:
        rank: Which one.
        size: Of how many.
        host: Where it ran.
        message: What happened; with a traceback if nobody expected it.
        exit_status: That of its process.
        follows: It follows from the failure of another rank.
        time: When, in seconds since 1970.
    """

    rank: int
    size: int
    host: str = field(default_factory=socket.gethostname)
    message: str
    exit_status: int = 1
    follows: bool = False
    time: float = field(default_factory=time.time)

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size} on {self.host}: {self.message}"

    @classmethod
    def of_exception(cls, error: Exception, *, rank: int, size: int) -> Failure:
        """Describe what a rank raised."""
        if is_lost_contact(error):
            message = f"lost contact with another rank: {_last_line(error)}"
            return cls(rank=rank, size=size, message=message, follows=True)
        if isinstance(error, ArchspecError):
            status = error.exit_status
            return cls(
                rank=rank,
                size=size,
                message=str(error),
                exit_status=status,
                follows=isinstance(error, OtherRankError),
            )
        text = "".join(traceback.format_exception(error)).rstrip()
        return cls(rank=rank, size=size, message=f"an unexpected error\n{text}")

    @classmethod
    def of_signal(
        cls, number: int, *, rank: int, size: int, time: float, output: str = ""
    ) -> Failure:
        """Describe a rank that a signal ended; ``output`` is the last it said."""
        name = signal.Signals(number).name
        message = f"killed by {name}"
        if number == signal.SIGKILL:
            message += ", which the system sends when memory runs out (see the kernel's log)"
        said = f"; its last output:\n{output}" if output else ""
        return cls(rank=rank, size=size, message=message + said, time=time)

    @classmethod
    def of_status(
        cls, status: int, *, rank: int, size: int, time: float, output: str = ""
    ) -> Failure:
        """Describe a rank that ended with a status and left no word."""
        said = f"; its last output:\n{output}" if output else ""
        message = f"ended with exit status {status}{said}"
        return cls(rank=rank, size=size, message=message, exit_status=status, time=time)

    def write(self, path: Path) -> None:
        """Write the failure for the launcher, in a form that torchrun shows too."""
        shown = {"message": str(self), "extraInfo": {"timestamp": str(int(self.time))}}
        replace_text(path, json.dumps({"message": shown, "failure": asdict(self)}))

    @classmethod
    def read(cls, path: Path) -> Failure | None:
        """Read what a rank wrote, if it did."""
        try:
            return cls(**json.loads(path.read_text())["failure"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def error_file() -> Path | None:
    """Return the file in which this rank's launcher looks for a failure."""
    name = os.environ.get(ERROR_FILE)
    return Path(name) if name else None


def is_lost_contact(error: BaseException) -> bool:
    """Tell whether an error says no more than that another rank is gone."""
    text = str(error).lower()
    if any(phrase in text for phrase in _LOST):
        return True
    before = error.__cause__ or error.__context__
    return not isinstance(error, ArchspecError) and before is not None and is_lost_contact(before)


def find_cause(failures: Sequence[Failure]) -> Failure:
    """Return the first failure that does not follow from another, or the first of all."""
    return min(failures, key=lambda failure: (failure.follows, failure.time))


def is_unanimous(failures: Sequence[Failure]) -> bool:
    """Tell whether every rank failed by itself, and all of the same."""
    if any(failure.follows for failure in failures):
        return False
    return len(failures) == failures[0].size and len({f.message for f in failures}) == 1


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".")
