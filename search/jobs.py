"""Trainings that a list names, such as the re-runs of finalists: each is done by one worker, once.

They are trials of a second Optuna study beside the search's, without parameters: every worker
derives the same list from the finished trials, and takes what nobody has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from archspec.errors import ObjectiveError, RunError
from archspec.search.claims import DONE, Verdict
from archspec.search.holder import DEATHS, DIED, DIVERGED, INTERRUPTED, Holder
from archspec.search.leases import LeaseLostError
from archspec.search.objective import Outcome
from archspec.search.trials import METRICS, SECONDS

JOB = "job"


class Jobs:
    """The jobs of a study.

    Args:
        holder: Of the second study, its key being ``JOB``.
        slot: Tells workers apart that start together, so that they begin with different jobs.
    """

    def __init__(self, holder: Holder, *, slot: int = 0) -> None:
        self._holder = holder
        self._slot = slot

    def run(
        self,
        names: Sequence[str],
        work: Callable[[str], Outcome | None],
        pause: Callable[[], None],
    ) -> None:
        """Have every job done, by whoever.

        Args:
            names: Of the jobs, in the order in which one worker would do them.
            work: Does one; returns None if training diverged.
            pause: Called while others do the last ones.
        """
        while True:
            trials = self._trials()
            done = _names(trials, *DONE)
            if done.issuperset(names):
                return
            busy = done | _names(trials, TrialState.RUNNING)
            free = [name for name in names if name not in busy]
            if free:
                self._run_one(free[self._slot % len(free)], work)
            else:
                pause()

    def outcomes(self) -> dict[str, Outcome | None]:
        """Return what came of the jobs that are done; None for those that diverged."""
        return {job_of(trial): outcome_of(trial) for trial in self.trials(*DONE)}

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials of jobs in some states."""
        return [trial for trial in self._trials() if trial.state in states]

    def _run_one(self, name: str, work: Callable[[str], Outcome | None]) -> None:
        number = self._create(name)
        try:
            self._holder.begin(number)
            if self._holder.claim(number) is not Verdict.OURS:
                self._holder.withdraw(number, "another worker does it")
                return
            outcome = work(name)
            if outcome is None:
                self._holder.tell(number, None, {DIVERGED: "with this seed"})
                return
            attributes = {METRICS: dict(outcome.metrics), SECONDS: outcome.seconds}
            self._holder.tell(number, [outcome.value], attributes)
        except (UpdateFinishedTrialError, LeaseLostError):
            return  # it was taken while this process was held up
        except ObjectiveError as error:
            self._holder.withdraw(number, str(error))
            raise
        except KeyboardInterrupt:
            self._holder.give_back(number, "stopped")
            raise

    def _create(self, name: str) -> int:
        died = [
            trial
            for trial in self._trials()
            if trial.user_attrs.get(JOB) == name and trial.user_attrs.get(INTERRUPTED) == DIED
        ]
        attributes = {JOB: name, DEATHS: len(died)}
        template = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
        storage = self._holder.storage
        trial_id = storage.create_new_trial(self._holder.study_id, template)
        return storage.get_trial_number_from_id(trial_id)

    def _trials(self) -> list[FrozenTrial]:
        return self._holder.storage.get_all_trials(self._holder.study_id, deepcopy=False)


def job_of(trial: FrozenTrial) -> str:
    """Return the job that a trial is about. Raises RunError if it has none."""
    name = trial.user_attrs.get(JOB)
    if not isinstance(name, str):
        raise RunError(
            f"trial {trial.number} of the study of re-runs is damaged: it names no training; put "
            "back a copy of the study"
        )
    return name


def outcome_of(trial: FrozenTrial) -> Outcome | None:
    """Return what came of a finished trial; None if training diverged. Raises RunError."""
    if trial.state != TrialState.COMPLETE:
        return None
    values, metrics, seconds = trial.values, *map(trial.user_attrs.get, (METRICS, SECONDS))
    if not values or not isinstance(metrics, dict) or not isinstance(seconds, (int, float)):
        raise RunError(
            f"trial {trial.number} of the study of re-runs is damaged: it is complete, but lacks "
            f"its value, {METRICS} or {SECONDS}; put back a copy of the study"
        )
    return Outcome(value=values[0], metrics=metrics, seconds=seconds)


def _names(trials: Sequence[FrozenTrial], *states: TrialState) -> set[str]:
    return {job_of(trial) for trial in trials if trial.state in states}
