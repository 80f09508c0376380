"""Worker processes on this machine, and one view of what all workers of a search do."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from pickle import PicklingError

from archspec.errors import ArchspecError, RunError, StoppedError
from archspec.search.events import Listener
from archspec.search.objective import Objective
from archspec.search.session import Session, Terms
from archspec.search.storage import quiet_optuna
from archspec.search.watching import Watch
from archspec.search.workspace import open_workspace

LOG = "workers.log"
_POLL = 0.5  # seconds between two looks at the study
_PATIENCE = 30.0  # seconds that a worker has to give back its trial
_DEATHS = 3  # of one worker in a row, with no trial done in between, after which it stays dead


@dataclass(frozen=True)
class Order:
    """What a worker process is told; it may hold a password, so it never is an argument."""

    out: Path
    storage: str | None
    objective: Objective
    terms: Terms


class Crew:
    """A number of worker processes for one search.

    Args:
        session: The parent's view of the search; it trains nothing.
        out: The run directory.
        objective: Judges designs; sent to the workers.
        storage: Where the study is, unless in ``out``.
        workers: How many processes.
        terms: How they work.
    """

    def __init__(
        self,
        session: Session,
        out: Path,
        objective: Objective,
        *,
        storage: str | None,
        workers: int,
        terms: Terms,
    ) -> None:
        self._session = session
        self._threads = max(1, _cores() // workers)
        orders = [
            Order(out, storage, objective, replace(terms, slot=slot)) for slot in range(workers)
        ]
        self._members = [_Member(order) for order in orders]

    def run(self, listener: Listener) -> None:
        """Work until everything is done.

        Raises:
            StoppedError: Somebody asked for it.
            KeyboardInterrupt: Likewise, by Ctrl-C here.
            ArchspecError: A worker cannot go on, or all of them died.
            RuntimeError: A fault of ours in a worker, with its traceback.
        """
        watch = Watch(self._session)
        try:
            for member in self._members:
                member.start(self._threads)
            while any(member.is_there for member in self._members):
                wait([m.pipe for m in self._members if m.is_there], timeout=_POLL)
                for member in self._members:
                    self._hear(member, listener)
                self._replace_dead(listener)
                watch.look()
        finally:
            self._end()
            watch.look()

    def _hear(self, member: _Member, listener: Listener) -> None:
        for what, text in member.messages():
            match what:
                case "notice":
                    listener.on_notice(text)
                case "stopped":
                    raise StoppedError(text)
                case "failed":
                    raise RunError(text)
                case "fault":
                    raise RuntimeError(f"a worker failed:\n{text}")

    def _replace_dead(self, listener: Listener) -> None:
        done = self._session.trials.num_done
        for member in self._members:
            if not member.died:
                continue
            who, how = member.name, member.status
            if member.bury(done) < _DEATHS:
                listener.on_notice(f"{who} died ({how}); another takes its place")
                member.start(self._threads)
                continue
            listener.on_notice(f"{who} died ({how}) {_DEATHS} times and stays away")
            if not any(other.is_there for other in self._members):
                raise RunError(
                    f"every worker died, the last one of {how}, perhaps for lack of memory; give "
                    "fewer --workers and go on by --resume: nothing that was done is lost"
                )

    def _end(self) -> None:
        """Have every process that is left give back its trial and end."""
        for member in self._members:
            member.ask_to_end()
        until = time.monotonic() + _PATIENCE
        for member in self._members:
            member.end(max(0.0, until - time.monotonic()))


class _Member:
    """One place in the crew, and the process that has it now."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._process: SpawnProcess | None = None
        self.pipe: Connection
        self._finished = False
        self._deaths = 0
        self._done = 0

    @property
    def is_there(self) -> bool:
        """Whether its process runs or has died unheard."""
        return self._process is not None

    @property
    def name(self) -> str:
        """What notices call it."""
        assert self._process is not None, "it was started"
        return f"worker {self._order.terms.slot + 1} (pid {self._process.pid})"

    @property
    def died(self) -> bool:
        """Whether its process is gone without a word."""
        return self._process is not None and not self._process.is_alive() and not self._finished

    @property
    def status(self) -> str:
        """How its process ended."""
        assert self._process is not None, "it was started"
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def start(self, threads: int) -> None:
        """Start a process."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(self._order, theirs), daemon=True)
        try:
            with _environment(threads), _ctrl_c_ignored():
                self._process.start()
        except (PicklingError, AttributeError, TypeError) as error:
            self._process = None
            raise RunError(
                f"the objective cannot be sent to worker processes: {error}; define it at the top "
                "level of a module, or use one worker"
            ) from None
        finally:
            theirs.close()

    def messages(self) -> Iterator[tuple[str, str]]:
        """Yield what its process said since."""
        with contextlib.suppress(EOFError, OSError):
            while self._process is not None and self.pipe.poll():
                what, text = self.pipe.recv()
                self._finished = what != "notice"
                if what == "finished":
                    self._process.join()
                    self._process = None
                yield what, text

    def bury(self, done: int) -> int:
        """Forget the process that died; return how often in a row one did, with no trial done."""
        self._deaths = self._deaths + 1 if done == self._done else 1
        self._done = done
        self._process = None
        return self._deaths

    def ask_to_end(self) -> None:
        """Ask the process to give back its trial."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()

    def end(self, seconds: float) -> None:
        """Wait for the process, but not for ever."""
        if self._process is not None:
            self._process.join(seconds)
            self._process.kill()
            self._process.join()
            self._process = None


class _Reporter(Listener):
    """Passes a worker's notices on; what it trains, the parent reads from the study."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def on_notice(self, text: str) -> None:
        """Pass it on; if nobody is left to hear it, the worker ends soon."""
        with contextlib.suppress(OSError):
            self._pipe.send(("notice", text))


def _work(order: Order, pipe: Connection) -> None:
    """Be a worker process."""
    os.setsid()  # Ctrl-C reaches the parent alone, which then asks its workers to end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (order.out / LOG).open("ab", buffering=0) as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    try:
        with quiet_optuna():
            _take_part(order, _Reporter(pipe))
    except StoppedError as stop:
        said = ("stopped", str(stop))
    except ArchspecError as error:
        said = ("failed", str(error))
    except KeyboardInterrupt:
        said = ("stopped", "stopped by a signal")
    except Exception:  # noqa: BLE001 - the parent raises it again, with the traceback
        said = ("fault", traceback.format_exc())
    else:
        said = ("finished", "")
    with contextlib.suppress(OSError):
        pipe.send(said)


def _take_part(order: Order, reporter: Listener) -> None:
    opened = open_workspace(order.out, storage=order.storage, notify=reporter.on_notice, wait=True)
    with (
        contextlib.closing(opened) as workspace,
        Session(workspace, order.objective, reporter, order.terms) as session,
    ):
        session.run()


def _cores() -> int:
    """Return the cores of this process, or what OMP_NUM_THREADS says of them."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Set what OpenMP reads once, before torch is imported, in processes started meanwhile."""
    # Where cores are shared, threads that spin while they wait slow the others down.
    wanted = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Start processes that no Ctrl-C reaches before they have a session of their own."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, where no Ctrl-C arrives
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
