"""The finalists' trainings with fresh seeds, shared among the workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archspec.search.finalists import finalists, fresh_seeds, with_reruns
from archspec.search.jobs import Jobs
from archspec.search.objective import Outcome
from archspec.search.results import DesignResult
from archspec.search.space import Design
from archspec.search.trials import Trials
from archspec.spec.search.spec import SearchSpec


@dataclass(frozen=True, slots=True)
class Rerun:
    """One training.

    Attributes:
        design: What is trained.
        result: What its first run gave.
        seed: The fresh one.
        number: From 1, in the order of the designs' trials.
        planned: How many there are.
    """

    design: Design
    result: DesignResult
    seed: int
    number: int
    planned: int

    @property
    def name(self) -> str:
        """What the job of this training is called."""
        return f"{self.result.spec_hash} seed {self.seed}"


class Reruns:
    """The re-runs that follow the trials of a search.

    Args:
        spec: The search.
        trials: Its trials.
        jobs: Where the re-runs are kept.
    """

    def __init__(self, spec: SearchSpec, trials: Trials, jobs: Jobs) -> None:
        self._spec = spec
        self._trials = trials
        self.jobs = jobs

    def planned(self) -> list[Rerun]:
        """Return what is to be run once the trials are done."""
        completed = self._trials.completed()
        chosen = finalists([result for _, result in completed], self._spec)
        seeds = fresh_seeds(self._spec)
        pairs = [
            (design, result, seed)
            for design, result in completed
            if result.trial in chosen
            for seed in seeds
        ]
        return [
            Rerun(design, result, seed, number, len(pairs))
            for number, (design, result, seed) in enumerate(pairs, start=1)
        ]

    def run(self, train: Callable[[Rerun], Outcome | None], pause: Callable[[], None]) -> None:
        """Have every one run, by whoever.

        Args:
            train: Trains; returns None if training diverged.
            pause: Called while others do the last ones.
        """
        planned = {rerun.name: rerun for rerun in self.planned()}
        self.jobs.run(tuple(planned), lambda name: train(planned[name]), pause)

    def results(self) -> list[DesignResult]:
        """Return every trained design, the finalists with their re-runs."""
        outcomes = self.jobs.outcomes()
        found: dict[int, list[Outcome | None]] = {}
        for rerun in self.planned():
            found.setdefault(rerun.result.trial, []).append(outcomes[rerun.name])
        return [
            with_reruns(result, found[result.trial]) if result.trial in found else result
            for _, result in self._trials.completed()
        ]

    @property
    def seconds(self) -> float:
        """Spent in re-runs of the finalists."""
        outcomes = self.jobs.outcomes()
        timed = [outcomes[rerun.name] for rerun in self.planned()]
        return sum(outcome.seconds for outcome in timed if outcome is not None)
