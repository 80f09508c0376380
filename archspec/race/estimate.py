"""How long a race will take, from a few steps of every design that nobody keeps."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from archspec.race.directory import Race
from archspec.race.trainings import Training
from archspec.train.events import Evaluation, Listener, Step

STEPS = 8  # the first two warm up: memory is allocated and kernels are compiled
_WARM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What a design takes here, alone: seconds of a step, and of an evaluation."""

    step: float
    evaluation: float


class _Stopwatch(Listener):
    def __init__(self) -> None:
        self.steps: list[float] = []
        self.evaluation = 0.0
        self._since = 0.0

    def on_step(self, event: Step) -> None:
        self.steps.append(event.seconds)
        self._since = time.perf_counter()

    def on_evaluation(self, event: Evaluation) -> None:
        self.evaluation = time.perf_counter() - self._since


def measure_speed(race: Race) -> dict[str, Speed]:
    """Train every design for a few steps and write nothing. Raises what training raises."""
    # OpenMP reads these once, so they must be said before torch is imported; workers get the same.
    os.environ["OMP_NUM_THREADS"] = str(race.settings.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from archspec.train.loop import train

    at_end = race.train.evaluation.model_copy(update={"every_steps": None})
    brief = race.train.model_copy(
        update={"tokens": STEPS * race.train.batch_tokens, "evaluation": at_end}
    )
    found = {}
    for entrant in race.entrants:
        watch = _Stopwatch()
        train(entrant.spec, brief, out=None, device=race.settings.device, listener=watch)
        step = statistics.median(watch.steps[_WARM:])
        found[entrant.name] = Speed(step=step, evaluation=watch.evaluation)
    return found


def estimate_seconds(
    trainings: Sequence[Training], speeds: dict[str, Speed], *, jobs: int
) -> float:
    """Add up what trainings take, ``jobs`` at a time as if they did not slow each other down."""
    total = 0.0
    for training in trainings:
        speed, train = speeds[training.design], training.train
        every = train.evaluation.every_steps or train.num_steps
        total += train.num_steps * speed.step + -(-train.num_steps // every) * speed.evaluation
    return total / jobs
