"""Tells the listener where a search stands, and how long it may still take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from archspec.search.claims import CLAIMED, DONE
from archspec.search.drawing import Drawing
from archspec.search.events import Finished, Listener, Plan, Started
from archspec.search.feasible import FeasibleSpace
from archspec.search.hand import HandDesign
from archspec.search.jobs import Jobs
from archspec.search.leases import Worker
from archspec.search.objective import Outcome
from archspec.search.results import BudgetResult, SpaceResult, rank
from archspec.search.rungs import num_later, work
from archspec.search.share import FEW, feasible_share
from archspec.search.space import Design
from archspec.search.trials import SECONDS, Trials
from archspec.spec.search.spec import SearchSpec


def describe_space(allowed: FeasibleSpace) -> tuple[SpaceResult, tuple[BudgetResult, ...]]:
    """Count the space and what each budget rejects of it."""
    counted = allowed.rejections()
    rare = counted.num_feasible < FEW and not counted.exact
    space = SpaceResult(
        num_designs=counted.num_designs,
        num_priced=counted.num_priced,
        num_feasible=counted.num_feasible,
        share=feasible_share(allowed).value if rare else None,
        num_layers=max(len(part.gene_of) for part in allowed.space.parts),
        pools=allowed.space.pools,
        legend=Drawing(allowed.space).legend,
        choices=Drawing(allowed.space).choices,
    )
    budgets = tuple(
        BudgetResult(
            quantity=bound.quantity,
            side=bound.side,
            limit=bound.limit,
            rejected=counted.rejected[bound],
        )
        for bound in allowed.bounds
    )
    return space, budgets


class Progress:
    """Tells of trainings, and counts those of all workers and of earlier sessions.

    Args:
        spec: The search.
        trials: Its trials.
        jobs: The trainings after the trials.
        listener: Hears of them.
    """

    def __init__(self, spec: SearchSpec, trials: Trials, jobs: Jobs, listener: Listener) -> None:
        self._spec = spec
        self._trials = trials
        self._jobs = jobs
        self._listener = listener
        self._drawing = Drawing(trials.allowed.space)
        self._trainings = spec.trials + num_later(spec)

    def plan(
        self,
        out: Path,
        hand: Sequence[HandDesign],
        space: SpaceResult,
        budgets: tuple[BudgetResult, ...],
    ) -> Plan:
        """Describe what is about to happen."""
        return Plan(
            out=out,
            metric=self._spec.metric,
            direction=self._spec.direction,
            sampler=self._spec.sampler,
            space=space,
            budgets=budgets,
            hand_designs=tuple(design.name for design in hand),
            trials=self._spec.trials,
            done=len(self._ended()),
            trainings=self._trainings,
        )

    def start(
        self, stage: str, number: int, planned: int, design: Design, source: str, worker: str = ""
    ) -> Started:
        """Tell that a training begins."""
        event = Started(
            stage=stage,
            number=number,
            planned=planned,
            placement=self._drawing.placement(design),
            pools=self._drawing.pools(design),
            source=source,
            worker=worker,
        )
        if stage == "re-run" and not self._spec.rungs and not self._spec.proxy:
            # The plan allowed for a best hand design that is not among the best designs.
            self._trainings = self._spec.trials + planned
        self._listener.on_start(event)
        return event

    def drop(self, started: Started) -> None:
        """Tell that a training was cut short."""
        self._listener.on_drop(started)

    def finish(self, started: Started, design: Design, outcome: Outcome | None) -> None:
        """Tell that a training is over; ``outcome`` is None if it diverged."""
        ended = self._ended()
        ranked = rank([result for _, result in self._trials.completed()], self._spec.direction)
        self._listener.on_finish(
            Finished(
                started=started,
                value=None if outcome is None else outcome.value,
                seconds=0.0 if outcome is None else outcome.seconds,
                prices=self._trials.allowed.prices(design),
                best=ranked[0] if ranked else None,
                done=len(ended),
                trainings=self._trainings,
                seconds_left=self._seconds_left(ended, started.worker),
            )
        )

    def _seconds_left(self, ended: Sequence[FrozenTrial], worker: str) -> float:
        """Estimate from the mean of a trial, what was spent, and how many are at work now.

        Args:
            ended: The trainings that are over.
            worker: Who ended one just now, and will begin another.
        """
        timed = [result.seconds for _, result in self._trials.completed()]
        if not timed or len(ended) >= self._trainings:
            return 0.0
        trial = fmean(timed)  # one that diverged counts as long
        spent = math.fsum(ended_trial.user_attrs.get(SECONDS, trial) for ended_trial in ended)
        running = [*self._trials.all(TrialState.RUNNING), *self._jobs.trials(TrialState.RUNNING)]
        at_work = {str(Worker.of(trial)) for trial in running if CLAIMED in trial.user_attrs}
        return max(0.0, trial * work(self._spec) - spent) / len(at_work | {worker})

    def _ended(self) -> list[FrozenTrial]:
        return [*self._trials.all(*DONE), *self._jobs.trials(*DONE)]
