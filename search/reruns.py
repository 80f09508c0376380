"""What follows the trials of a search, shared among the workers: higher rungs, then fresh seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archspec.search.finalists import with_reruns
from archspec.search.jobs import Jobs
from archspec.search.objective import Outcome
from archspec.search.results import DesignResult
from archspec.search.rungs import Due, Ladder
from archspec.search.space import Design
from archspec.search.stage_results import RungResult
from archspec.search.trials import Trials
from archspec.spec.search.spec import SearchSpec


@dataclass(frozen=True, slots=True)
class Rerun:
    """One training.

    Attributes:
        design: What is trained.
        result: What its first run gave.
        due: With which seed, for how long, and why.
        number: From 1, among those of its stage.
        planned: How many its stage has.
    """

    design: Design
    result: DesignResult
    due: Due
    number: int
    planned: int

    @property
    def name(self) -> str:
        """What the job of this training is called."""
        return self.due.name


class Reruns:
    """The trainings that follow the trials of a search.

    Args:
        spec: The search.
        trials: Its trials.
        jobs: Where these trainings are kept.
    """

    def __init__(self, spec: SearchSpec, trials: Trials, jobs: Jobs) -> None:
        self._spec = spec
        self._trials = trials
        self.jobs = jobs

    def planned(self) -> list[Rerun]:
        """Return what is to be run, as far as it follows from what is done."""
        ladder, known = self._read()
        return self._named(ladder.planned(known))

    def run(self, train: Callable[[Rerun], Outcome | None], pause: Callable[[], None]) -> None:
        """Have every one run, by whoever, one stage after the other.

        Args:
            train: Trains; returns None if training diverged.
            pause: Called while others do the last ones.
        """
        while True:
            ladder, known = self._read()
            due = ladder.due(known)
            if not due:
                return
            planned = {rerun.name: rerun for rerun in self._named(ladder.planned(known))}
            names = tuple(training.name for training in due)
            self.jobs.run(names, lambda name: train(planned[name]), pause)  # noqa: B023 - now

    def results(self) -> tuple[DesignResult, ...]:
        """Return every trained design, ranked, the finalists with their re-runs."""
        ladder, known = self._read()
        again = ladder.reruns(known)
        designs = [
            with_reruns(result, again[result.spec_hash]) if result.spec_hash in again else result
            for _, result in self._trials.completed()
        ]
        return ladder.order(designs, ladder.rungs(known))

    def rungs(self) -> tuple[RungResult, ...]:
        """Return the results of every rung that is done, the trials first."""
        ladder, known = self._read()
        return ladder.rungs(known)

    def checked(self) -> list[tuple[float, float]]:
        """Return what each checked design was worth at both sizes of the proxy."""
        ladder, known = self._read()
        return ladder.checked(known)

    @property
    def seconds(self) -> float:
        """Spent in these trainings."""
        _, known = self._read()
        return sum(outcome.seconds for outcome in known.values() if outcome is not None)

    def _read(self) -> tuple[Ladder, dict[Due, Outcome | None]]:
        ladder = Ladder(self._spec, [result for _, result in self._trials.completed()])
        return ladder, ladder.named(self.jobs.outcomes())

    def _named(self, due: list[Due]) -> list[Rerun]:
        """Number trainings within their stages."""
        completed = self._trials.completed()
        designs = {result.spec_hash: (design, result) for design, result in completed}
        stages: dict[str, list[Due]] = {}
        for training in due:
            stages.setdefault(training.title, []).append(training)
        return [
            Rerun(*designs[training.design], training, number, len(trainings))
            for trainings in stages.values()
            for number, training in enumerate(trainings, start=1)
        ]
