"""Ranks as processes of this machine: started together, watched, ended together; torch-free.

Why not torchrun's agent: it imports torch, answers Ctrl-C by killing after 30 seconds, maps every
exit status to 1 and reports in its own format. Here a launcher starts at once, the statuses of
``archspec`` hold, and of many ranks that fail the one that caused it speaks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from archspec.errors import INTERRUPTED
from archspec.train.failure import ERROR_FILE, Failure, find_cause, is_unanimous
from archspec.train.interrupt import SAME_REQUEST, SIGNALS

LIFELINE = "ARCHSPEC_LIFELINE"  # a pipe that ends when the launcher does
LISTENER = "ARCHSPEC_LISTENER"  # the first rank's socket, bound before any rank runs

# The first to be seen failing may only have lost its neighbour, whose own end takes a moment.
GRACE = 2.0
SAVING = 60.0  # ranks that were interrupted have saved together, but end one by one
POLL = 0.05
_TAIL = 4000  # bytes of a dead rank's output that are shown

# What another launcher may have left in the environment.
_OTHERS = {"RANK", "GROUP_RANK", "ROLE_RANK", "TORCHELASTIC_USE_AGENT_STORE", LISTENER}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How a job of several ranks ended.

    Attributes:
        statuses: What each rank ended with; negative is a signal, also one of ours.
        failures: Why ranks failed on their own account, none if all went well.
        unanswering: Ranks that were still running when the job was given up.
        interrupted: Somebody asked the job to stop, and nothing failed over it.
    """

    statuses: tuple[int, ...]
    failures: tuple[Failure, ...]
    unanswering: tuple[int, ...]
    interrupted: bool

    @property
    def exit_status(self) -> int:
        """What the job as a whole ends with."""
        if self.interrupted:
            return INTERRUPTED
        return find_cause(self.failures).exit_status if self.failures else 0

    @property
    def fault(self) -> str | None:
        """What went wrong, in the words of the rank that failed first."""
        if self.interrupted or not self.failures:
            return None
        cause = find_cause(self.failures)
        if is_unanimous(self.failures):
            return cause.message
        heard = {failure.rank for failure in self.failures}
        silent = ", ".join(str(rank) for rank in self.unanswering if rank not in heard)
        return f"{cause}; no answer from rank {silent}" if cause.follows and silent else str(cause)


def is_launched() -> bool:
    """Tell whether this process is a rank that :func:`launch` started."""
    return LIFELINE in os.environ


def launch(command: Sequence[str], *, nproc: int) -> JobEnd:
    """Run a command once a rank and wait for all of them.

    The first rank has this process's output; what others print is shown only if they die of it.
    Ctrl-C and SIGTERM are passed on, once, to ranks that then save and end by themselves; the
    next ends them at once. A rank that fails ends the job. Ranks that survive this process,
    whatever killed it, get SIGTERM.

    Args:
        command: What a rank runs; it learns from its environment who it is, as under torchrun.
        nproc: Ranks.
    """
    ranks: list[_Rank] = []
    with (
        tempfile.TemporaryDirectory(prefix="archspec-ranks-") as folder,
        _lifeline() as lifeline,
        _noting() as signals,
    ):
        try:
            for rank in _start(command, nproc, Path(folder), lifeline):
                ranks.append(rank)  # noqa: PERF402 (those that did start must end)
            return _watch(ranks, signals)
        finally:
            for rank in ranks:
                rank.end()


def outlive_no_launcher() -> None:
    """In a rank: take the end of the launcher for a SIGTERM."""
    lifeline = int(os.environ[LIFELINE])

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def threads_per_rank(nproc: int) -> int:
    """Return how many threads each rank gets of the processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, processors // nproc)


@dataclass(slots=True)
class _Rank:
    """A process and where it leaves word."""

    rank: int
    size: int
    process: subprocess.Popen[bytes]
    report: Path
    output: Path | None
    killed: bool = False
    seen: float = 0.0

    @property
    def status(self) -> int | None:
        """What it ended with, as of the last look."""
        return self.process.returncode

    @property
    def has_failed(self) -> bool:
        return self.report.exists() or self.status not in (None, 0, INTERRUPTED)

    def is_alive(self) -> bool:
        """Look after it."""
        alive = self.process.poll() is None
        if alive:
            self.seen = time.time()
        return alive

    def end(self) -> None:
        """End it, if it has not."""
        if self.is_alive():
            self.killed = True
            self.process.kill()
        self.process.wait()

    def failure(self) -> Failure | None:
        """Why it failed, if it did on its own account."""
        written = Failure.read(self.report)
        status = self.status
        if written is not None or self.killed or status in (None, 0, INTERRUPTED):
            return written
        make, value = (Failure.of_signal, -status) if status < 0 else (Failure.of_status, status)
        # The time when it was last seen alive: whoever misses it can only have said so later.
        return make(value, rank=self.rank, size=self.size, output=self._tail(), time=self.seen)

    def _tail(self) -> str:
        if self.output is None:
            return ""
        return self.output.read_bytes()[-_TAIL:].decode(errors="replace").strip()


def _start(command: Sequence[str], size: int, folder: Path, lifeline: int) -> Iterator[_Rank]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        shared = _environment(size, port=listener.getsockname()[1], lifeline=lifeline)
        for rank in range(size):
            report, output = folder / f"rank{rank}.json", folder / f"rank{rank}.log"
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), ERROR_FILE: str(report)}
            if rank == 0:
                own[LISTENER] = str(listener.fileno())
            with contextlib.nullcontext() if rank == 0 else output.open("wb") as stream:
                process = subprocess.Popen(
                    command,
                    env={**shared, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=(lifeline, listener.fileno()) if rank == 0 else (lifeline,),
                )
            yield _Rank(rank, size, process, report, output if rank else None)


def _environment(size: int, *, port: int, lifeline: int) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    environment |= {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        LIFELINE: str(lifeline),
    }
    environment.setdefault("OMP_NUM_THREADS", str(threads_per_rank(size)))
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whatever the host's name resolves to
    return environment


def _watch(ranks: Sequence[_Rank], signals: Sequence[float]) -> JobEnd:
    """Wait until every rank has ended, or one failed and the others had their moment."""
    patience = _Patience()
    told = False
    while alive := [rank for rank in ranks if rank.is_alive()]:
        if signals and not told:
            told = True
            for rank in alive:
                rank.process.terminate()  # a terminal's Ctrl-C has reached them already
        repeated = any(later - signals[0] > SAME_REQUEST for later in signals[1:])
        if repeated or patience.is_over(ranks):
            break
        time.sleep(POLL)
    for rank in ranks:
        rank.end()
    return _sum_up(ranks, unanswering=tuple(rank.rank for rank in alive), asked=bool(signals))


class _Patience:
    """How long the others may take once a rank has ended otherwise than well."""

    def __init__(self) -> None:
        self._since: dict[float, float] = {}

    def is_over(self, ranks: Sequence[_Rank]) -> bool:
        now = time.monotonic()
        if any(rank.has_failed for rank in ranks):
            self._since.setdefault(GRACE, now)
        if any(rank.status == INTERRUPTED for rank in ranks):
            self._since.setdefault(SAVING, now)
        return any(now - since > limit for limit, since in self._since.items())


def _sum_up(ranks: Sequence[_Rank], *, unanswering: tuple[int, ...], asked: bool) -> JobEnd:
    failures = tuple(failure for rank in ranks if (failure := rank.failure()) is not None)
    stopped = asked or any(rank.status == INTERRUPTED for rank in ranks)
    if stopped:
        # Ranks that did not train yet die of the signal itself, and others lose them.
        gone = {rank.rank for rank in ranks if rank.status in (-signal.SIGINT, -signal.SIGTERM)}
        failures = tuple(f for f in failures if not f.follows and f.rank not in gone)
    return JobEnd(
        statuses=tuple(rank.process.returncode for rank in ranks),
        failures=failures,
        unanswering=unanswering,
        interrupted=stopped and not failures,
    )


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """Give the end of a pipe that tells its reader when this process is gone."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _noting() -> Iterator[Sequence[float]]:
    """Note when Ctrl-C or SIGTERM came instead of dying of it, in a process's main thread."""
    noted: list[float] = []
    before: dict[int, Any] = {}

    def note(_number: int, _frame: FrameType | None) -> None:
        noted.append(time.monotonic())

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
