"""Who works on a trial, whether they still live, and the thread that says so.

A lease is a counter in a trial's attributes that its worker raises every few seconds. Whether it
still moves is judged by the clock of whoever looks, so clocks of different machines are never
compared; and only time in which that observer did reach the storage counts, so nobody is taken for
dead because the storage was away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from archspec.search.interrupting import interruptible

WORKER, LEASE = "worker", "lease"
LEASE_SECONDS = 60.0
BEATS = 6  # of a lease's seconds; so many may be late before it counts as lost
_UNREAD = 0.25  # the most of a lease's seconds that pass between two looks at it


class LeaseLostError(Exception):
    """A trial was taken from its worker, which had given no sign of life for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A session of a process, told apart from all others anywhere.

    Attributes:
        host: Name of its machine.
        machine: Tells this boot and this container from others of the same host name.
        pid: Of the process.
        started: When that began, in clock ticks since the machine did.
        session: Tells one search from the next within a process, which has one at a time.
    """

    host: str
    machine: str
    pid: int
    started: int
    session: str

    @classmethod
    def here(cls) -> Worker:
        """Return a new session of this process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            machine=_machine(),
            pid=pid,
            started=_started(pid),
            session=secrets.token_hex(4),
        )

    @classmethod
    def of(cls, trial: FrozenTrial) -> Worker | None:
        """Return who works on a trial, None if nobody said so."""
        found = trial.user_attrs.get(WORKER)
        fields = cls.__dataclass_fields__.keys()
        if not isinstance(found, dict) or found.keys() != fields:
            return None
        return cls(**found)

    def as_attribute(self) -> dict[str, Any]:
        """Return what the trial keeps of it."""
        return asdict(self)

    def is_gone(self, here: Worker) -> bool:
        """Whether it is known to have ended; only a neighbour on its machine can know."""
        if not self.machine or self.machine != here.machine:
            return False
        return self.pid == here.pid or _started(self.pid) != self.started

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


@dataclass(frozen=True, slots=True)
class Lease:
    """What a trial says of its worker's life.

    Attributes:
        beat: Raised for as long as the worker lives.
        seconds: Without a beat, after which the trial is anybody's.
        at: By the worker's clock, for people to read.
    """

    beat: int
    seconds: float
    at: str

    @classmethod
    def of(cls, trial: FrozenTrial) -> Lease | None:
        """Read the lease of a trial, None if it has none."""
        match trial.user_attrs.get(LEASE):
            case {"beat": int(number), "seconds": int() | float() as seconds, "at": str(at)}:
                return cls(number, seconds, at)
        return None


def beat(number: int, seconds: float) -> dict[str, Any]:
    """Return the attribute of a lease."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"beat": number, "seconds": seconds, "at": now}


class Observer:
    """Tells which running trials have lost their worker.

    Args:
        here: This process.
        seconds: What a trial without a lease gets; its worker died before it wrote one.
        clock: Seconds that never go back.
    """

    def __init__(
        self, here: Worker, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._here = here
        self._seconds = seconds
        self._clock = clock
        self._looked: float | None = None
        self._silence: dict[int, tuple[object, float]] = {}

    def lost(self, running: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials whose workers are dead, or silent for as long as their lease lasts.

        Args:
            running: What the storage holds right now; call it every few seconds.
        """
        now = self._clock()
        passed = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        before, self._silence = self._silence, {}
        return [trial for trial in running if self._is_lost(trial, before, passed)]

    def _is_lost(
        self, trial: FrozenTrial, before: dict[int, tuple[object, float]], passed: float
    ) -> bool:
        worker, lease = Worker.of(trial), Lease.of(trial)
        if worker == self._here:
            return False
        if worker is not None and worker.is_gone(self._here):
            return True
        lasts = self._seconds if lease is None else lease.seconds
        seen = (trial.user_attrs.get(WORKER), None if lease is None else lease.beat)
        known, silent = before.get(trial.number, (seen, 0.0))
        silent = silent + min(passed, _UNREAD * lasts) if known == seen else 0.0
        self._silence[trial.number] = seen, silent
        return silent > lasts


class Heart:
    """The thread that renews a worker's lease while it has a trial.

    Args:
        renew: Writes a beat of a trial; returns False if the trial is no longer the worker's.
        look: Called every few seconds as well; returns why the worker should end at once, if so.
        seconds: That a lease lasts.
    """

    def __init__(
        self,
        renew: Callable[[int, dict[str, Any]], bool],
        look: Callable[[], str | None],
        *,
        seconds: float,
    ) -> None:
        self._renew = renew
        self._look = look
        self._seconds = seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._trial: int | None = None
        self._beat = 0
        self._interrupt: Callable[[], None] | None = None  # the training at hand, if there is one
        self.lost = False
        self.ending: str | None = None
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join(timeout=2 * self._pause)  # it may be waiting for the storage

    @property
    def _pause(self) -> float:
        return min(self._seconds / BEATS, 2.0)

    def hold(self, trial_id: int) -> dict[str, Any]:
        """Begin to renew the lease of a trial; return its first beat, to be written now."""
        with self._lock:
            self._trial, self._beat, self.lost = trial_id, 0, False
        return beat(0, self._seconds)

    def holds(self, trial_id: int) -> bool:
        """Whether this is the trial whose lease is renewed."""
        return self._trial == trial_id

    def let_go(self) -> None:
        """Renew nothing any more; a trial that ended while its beat was written is not lost."""
        with self._lock:
            self._trial, self.lost = None, False

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Have the code inside interrupted once the trial is lost or the worker should end.

        Raises:
            KeyboardInterrupt: Then; ``explain`` says why.
        """
        with interruptible() as interrupt:
            with self._lock:
                self._interrupt = interrupt
                if self.lost or self.ending or self.failure:
                    self._stop_training()
            try:
                yield
            finally:
                with self._lock:
                    self._interrupt = None

    def explain(self) -> None:
        """Raise what an interruption was about; do nothing if it was somebody's Ctrl-C."""
        if self.failure is not None:
            raise self.failure
        if self.lost and not self.ending:
            self.let_go()
            raise LeaseLostError

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(self._pause):
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + self._seconds / BEATS
                    self._renew_now()
                ending = self._look()
            except Exception as error:  # noqa: BLE001 - raised again by the worker itself
                self.failure = error
                with self._lock:
                    self._stop_training()
                return
            if ending is not None:
                with self._lock:
                    self.ending = ending
                    self._stop_training()

    def _renew_now(self) -> None:
        with self._lock:
            trial, self._beat = self._trial, self._beat + 1
            number = self._beat
        if trial is None or self._renew(trial, beat(number, self._seconds)):
            return
        with self._lock:
            if self._trial == trial:  # and not one whose end the worker wrote meanwhile
                self.lost = True
                self._stop_training()

    def _stop_training(self) -> None:
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            interrupt()


def _machine() -> str:
    """Name this boot of this machine and this container; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]


def _started(pid: int) -> int:
    """Return when a process began, in clock ticks since the machine did; 0 if there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in brackets may hold anything; state is the first field behind it, start the 20th.
    fields = status.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])
