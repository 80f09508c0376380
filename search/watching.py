"""What all workers of a search do, told to a listener as one sequence of events."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from archspec.search.claims import CLAIMED, DONE
from archspec.search.events import Started
from archspec.search.jobs import job_of, outcome_of
from archspec.search.leases import Worker
from archspec.search.params import design_of
from archspec.search.reruns import Rerun
from archspec.search.session import Session
from archspec.search.space import Design
from archspec.search.trials import SOURCE

_LATER = "later"  # trials of the second study, whatever their stage


class Watch:
    """Compares the study with what was told of it.

    Args:
        session: Of the process that watches.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: dict[tuple[str, int], tuple[Started, Design]] = {}
        self._dropped = 0
        self._told = {("trial", trial.number) for trial in session.trials.all(*DONE)}
        self._told |= {(_LATER, trial.number) for trial in session.reruns.jobs.trials(*DONE)}

    def look(self) -> None:
        """Tell what happened since the last look."""
        trials = self._session.trials
        for trial in trials.all():
            design = design_of(trials.allowed.space, trial)
            if design is not None:
                self._tell("trial", trial, design)
        jobs = self._session.reruns.jobs.trials(*TrialState)
        if jobs:
            planned = {rerun.name: rerun for rerun in self._session.reruns.planned()}
            for trial in jobs:
                rerun = planned.get(job_of(trial))
                if rerun is not None:
                    self._tell(rerun.due.title, trial, rerun.design, rerun)

    def _tell(
        self, stage: str, trial: FrozenTrial, design: Design, rerun: Rerun | None = None
    ) -> None:
        key = (_LATER if rerun else stage, trial.number)
        progress = self._session.progress
        if key in self._told or not trial.user_attrs.get(CLAIMED):
            return
        if key not in self._open:
            self._open[key] = self._start(stage, trial, design, rerun), design
        if trial.state == TrialState.RUNNING:
            return
        started, design = self._open.pop(key)
        self._told.add(key)
        if trial.state == TrialState.FAIL:
            progress.drop(started)
            self._dropped += stage == "trial"
        else:
            progress.finish(started, design, outcome_of(trial))

    def _start(
        self, stage: str, trial: FrozenTrial, design: Design, rerun: Rerun | None
    ) -> Started:
        worker = str(Worker.of(trial) or "")
        progress = self._session.progress
        if rerun is not None:
            return progress.start(
                stage, rerun.number, rerun.planned, design, rerun.result.source, worker
            )
        begun = sum(stage == "trial" for stage, _ in {*self._told, *self._open})
        number = begun - self._dropped + 1  # what was cut short takes no place among the trials
        source = str(trial.user_attrs.get(SOURCE, ""))
        return progress.start(stage, number, self._session.spec.trials, design, source, worker)
