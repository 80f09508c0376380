"""A process that trains designs, one after the other, as JSON lines tell it.

In: ``{"run": directory, "spec": path, "train": document, "device": name}``. Out: ``step`` now and
then, and at the end of each training one of ``finished``, ``diverged``, ``stopped`` (a signal came)
and ``failed`` (bad input or a fault of ours). Whoever started it may vanish: the next line out then
finds nobody, and the process ends.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archspec.errors import ArchspecError, DivergedError
from archspec.race.batches import BatchRecorder
from archspec.race.outcome import write_outcome
from archspec.spec.load import load_model
from archspec.spec.train import TrainSpec
from archspec.train.events import Batch, Listener, Start, Step

INTERVAL = 0.5  # seconds between two lines about steps


class _Reporter(Listener):
    """Passes on where a training stands, and records its batches."""

    def __init__(self) -> None:
        self._batches = BatchRecorder()
        self._num_steps = 0
        self._last = 0.0

    def on_start(self, event: Start) -> None:
        self._num_steps = event.num_steps
        self._batches.on_start(event)

    def on_batch(self, event: Batch) -> None:
        self._batches.on_batch(event)

    def on_step(self, event: Step) -> None:
        now = time.monotonic()
        if now - self._last >= INTERVAL or event.step == self._num_steps:
            self._last = now
            say("step", step=event.step, num_steps=self._num_steps, loss=event.loss)

    def close(self) -> None:
        self._batches.close()


def say(what: str, **details: object) -> None:
    """Write a line to whoever started this process."""
    sys.stdout.write(json.dumps({"event": what, **details}) + "\n")
    sys.stdout.flush()


def work(order: Mapping[str, Any]) -> bool:
    """Train as a line says; False if a signal stopped it."""
    from archspec.train.loop import train
    from archspec.train.run_directory import METADATA

    run = Path(order["run"])
    reporter = _Reporter()
    try:
        result = train(
            load_model(order["spec"]),
            TrainSpec.model_validate(order["train"]),
            out=run,
            resume=(run / METADATA).exists(),
            device=order["device"],
            listener=reporter,
        )
    except DivergedError as error:
        write_outcome(run, diverged=str(error))
        say("diverged")
        return True
    finally:
        reporter.close()
    if not result.finished:
        say("stopped")
        return False
    write_outcome(run, diverged=None)
    say("finished")
    return True


def main() -> int:
    """Work until there is nothing more to read, or a signal comes."""
    for line in sys.stdin:
        try:
            if not work(json.loads(line)):
                return 0
        except BrokenPipeError:
            return 1
        except ArchspecError as error:
            say("failed", message=str(error), traceback=None)
        except Exception as error:  # noqa: BLE001 - the race ends by it, with the traceback
            say("failed", message=repr(error), traceback=traceback.format_exc())
    return 0


if __name__ == "__main__":
    sys.exit(main())
