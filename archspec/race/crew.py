"""Processes that train side by side: each takes the next training as soon as it is free."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from archspec.errors import RunError
from archspec.race.events import Listener, Progress
from archspec.race.outcome import is_done
from archspec.race.trainings import Training
from archspec.train.interrupt import StopRequest

_PATIENCE = 120.0  # seconds that a stopped training has to save its state
_POLL = 0.2  # seconds between two looks at whether somebody wants to stop


class Crew:
    """A number of worker processes for the trainings of one race.

    Args:
        race: The race's directory.
        jobs: Trainings at a time.
        threads: Of each of them.
        device: Where they train.
        stop: Asked between two messages.
    """

    def __init__(
        self, race: Path, *, jobs: int, threads: int, device: str, stop: StopRequest
    ) -> None:
        self._race = race
        self._device = device
        self._stop = stop
        self._messages: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self._workers = [_Worker(threads, self._messages) for _ in range(jobs)]

    def train(
        self,
        trainings: Sequence[Training],
        listener: Listener,
        finished: Callable[[Training], None],
    ) -> None:
        """Run every training that is not done yet.

        Args:
            trainings: In the order in which they begin.
            listener: Hears when one begins and where it stands.
            finished: Called as soon as one is over.

        Raises:
            KeyboardInterrupt: Somebody asked to stop; what was running has saved its state.
            RunError: A training cannot run, or its process died.
            RuntimeError: A fault of ours in a worker, with its traceback.
        """
        waiting = deque(t for t in trainings if not is_done(self._race / t.key))
        for worker in self._workers:
            self._next(worker, waiting, listener)
        while any(worker.training for worker in self._workers):
            for worker, message in self._receive():
                training = worker.training
                if training is not None and self._hear(worker, training, message, listener):
                    finished(training)
                    self._next(worker, waiting, listener)
            if self._stop.asked:
                raise KeyboardInterrupt

    def close(self) -> None:
        """End every process; one in the middle of a training saves its state first."""
        for worker in self._workers:
            worker.stop()
        try:
            for worker in self._workers:
                worker.wait()
        finally:
            for worker in self._workers:
                worker.end()

    def _receive(self) -> Iterator[tuple[_Worker, dict[str, Any] | None]]:
        with contextlib.suppress(queue.Empty):
            yield self._messages.get(timeout=_POLL)

    def _next(self, worker: _Worker, waiting: deque[Training], listener: Listener) -> None:
        worker.training = waiting.popleft() if waiting else None
        if worker.training is not None:
            training = worker.training
            order = {
                "run": str(self._race / training.key),
                "spec": str(self._race / training.spec),
                "train": training.train.model_dump(),
                "device": self._device,
            }
            worker.send(order)
            listener.on_start(training)

    def _hear(
        self,
        worker: _Worker,
        training: Training,
        message: dict[str, Any] | None,
        listener: Listener,
    ) -> bool:
        """Act on a message; True if the training is over."""
        match message:
            case None:
                raise RunError(
                    f"the process that trained {training.title} died ({worker.status()}), perhaps "
                    "for lack of memory; what is done is kept"
                )
            case {"event": "step", "step": step, "num_steps": num_steps, "loss": loss}:
                progress = Progress(step=step, num_steps=num_steps, loss=loss)
                listener.on_progress(training, progress)
            case {"event": "failed", "message": text, "traceback": None}:
                raise RunError(f"{training.title}: {text}")
            case {"event": "failed", "traceback": text}:
                raise RuntimeError(f"a worker failed while it trained {training.title}:\n{text}")
            case {"event": "stopped"}:
                raise KeyboardInterrupt
            case {"event": "finished" | "diverged"}:
                return True
            case _:
                raise AssertionError(f"a worker said {message}")
        return False


class _Worker:
    """One process, and a thread that reads what it says."""

    def __init__(
        self, threads: int, messages: queue.Queue[tuple[_Worker, dict[str, Any] | None]]
    ) -> None:
        self.training: Training | None = None
        self._messages = messages
        self._process = subprocess.Popen(
            [sys.executable, "-m", "archspec.race.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                # Where cores are shared, threads that spin while they wait slow the others down.
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            },
            start_new_session=True,  # Ctrl-C reaches the race alone, which then stops its workers
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def send(self, order: dict[str, Any]) -> None:
        """Give the process something to do; if it is dead, its end is heard of soon."""
        assert self._process.stdin is not None, "the process was started with a pipe"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Ask the process to end."""
        assert self._process.stdin is not None, "the process was started with a pipe"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self.training is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait for the end of the process, but not for ever."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_PATIENCE)

    def end(self) -> None:
        """End the process if it is still there, and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None, "the process was started with a pipe"
        self._process.stdout.close()

    def status(self) -> str:
        """Say how the process ended."""
        code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _listen(self) -> None:
        assert self._process.stdout is not None, "the process was started with a pipe"
        for line in self._process.stdout:
            self._messages.put((self, json.loads(line)))
        self._messages.put((self, None))
