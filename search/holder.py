"""One worker's hold on the trials of a study: begin, claim, tell, or give back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from archspec.search.claims import CLAIMED, Verdict, claim
from archspec.search.leases import LEASE, WORKER, Heart, Observer, Worker

# Why a failed trial was cut short; its design is queued again by whoever failed it.
INTERRUPTED = "interrupted"
AGAIN = "again"  # the number of the failed trial that a queued one takes up
WITHDRAWN = "withdrawn"  # why a trial was given up that has nothing to be queued again
DEATHS = "deaths"  # of workers that trained this design
DIED = "its worker died"
DIVERGED = "diverged"  # why a design has no value and is not tried again
_DEADLY = 5  # deaths after which a design is given up; it may need more memory than there is


class Holder:
    """What a worker does to trials; of several that end one, exactly one succeeds.

    Args:
        storage: Of the study.
        study: The study.
        key: The attribute that says what a trial is about.
        worker: This worker.
        heart: Renews the lease of the trial at hand.
        lease: Seconds after which a trial without any lease is anybody's.
        queue_again: Called for a trial that was cut short, by whoever failed it, with the deaths of
            workers over it.
        notify: Hears whose trials were taken.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: optuna.Study,
        *,
        key: str,
        worker: Worker,
        heart: Heart,
        lease: float,
        queue_again: Callable[[FrozenTrial, int], None],
        notify: Callable[[str], None],
    ) -> None:
        self.storage = storage
        self.study = study
        self.study_id = storage.get_study_id_from_name(study.study_name)
        self._key = key
        self._worker = worker
        self._heart = heart
        self._lease = lease
        self._queue_again = queue_again
        self._notify = notify
        self._observer = Observer(worker, seconds=lease)
        self._unqueued: dict[int, float] = {}
        self._recovering = threading.Lock()  # the heart's thread does it too

    def begin(self, number: int) -> None:
        """Say that a running trial is this worker's, from now on."""
        trial_id = self._id(number)
        self.storage.set_trial_user_attr(trial_id, WORKER, self._worker.as_attribute())
        self.storage.set_trial_user_attr(trial_id, LEASE, self._heart.hold(trial_id))

    def claim(self, number: int, *, limit: int | None = None) -> Verdict:
        """Return whether this worker may train what the trial is about.

        Raises:
            UpdateFinishedTrialError: The trial was taken away, as its lease had run out.
        """
        return claim(
            self.storage,
            self.study_id,
            self._id(number),
            key=self._key,
            limit=limit,
            waiting=self.recover,
        )

    def tell(
        self,
        number: int,
        values: Sequence[float] | None,
        attributes: Mapping[str, Any],
    ) -> bool:
        """End a trial, without values if its training diverged; False if it was taken away."""
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        try:
            self._write(number, attributes)
            self.study.tell(number, values, state=state)
        except UpdateFinishedTrialError:
            pass  # by somebody else, or by us though the storage's answer was lost
        except ValueError:
            if self._read(number).state == TrialState.RUNNING:
                raise
        finally:
            self._heart.let_go()
        told = self._read(number)
        return told.state == state and Worker.of(told) == self._worker

    def withdraw(self, number: int, reason: str) -> None:
        """Give up a trial whose design is somebody else's, or none."""
        self._end(number, TrialState.FAIL, {WITHDRAWN: reason})

    def give_back(self, number: int, reason: str, *, deaths: int = 0) -> bool:
        """Fail a trial and queue its design again; False if somebody else ended it.

        Whoever dies between the two leaves a trial that ``recover`` finds.
        """
        if not self._end(number, TrialState.FAIL, {INTERRUPTED: reason}):
            return False
        trial = self._read(number)
        self._queue_again(trial, trial.user_attrs.get(DEATHS, 0) + deaths)
        return True

    def withdraw_unclaimed(self, reason: str) -> None:
        """Give up the trials that nobody may train any more, once the search is done.

        Such as one whose worker died before it wrote who it was.
        """
        for trial in self.storage.get_all_trials(self.study_id, deepcopy=False):
            if trial.state == TrialState.RUNNING and CLAIMED not in trial.user_attrs:
                self.withdraw(trial.number, reason)

    def recover(self) -> None:
        """Take the trials of workers that died, or that lost the storage for too long."""
        with self._recovering:
            trials = self.storage.get_all_trials(self.study_id, deepcopy=False)
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            for trial in self._observer.lost(running):
                self._take_from_dead(trial)
            self._recover_unqueued(trials)

    def _take_from_dead(self, trial: FrozenTrial) -> None:
        who = Worker.of(trial) or "a worker"
        deaths = trial.user_attrs.get(DEATHS, 0) + 1
        if deaths >= _DEADLY:
            reason = f"{deaths} workers died over it"
            if self._end(trial.number, TrialState.PRUNED, {DIVERGED: reason}):
                self._notify(f"{who} is gone; trial {trial.number} is given up: {reason}")
        elif self.give_back(trial.number, DIED, deaths=1):
            self._notify(f"{who} is gone; trial {trial.number} is queued again")

    def _recover_unqueued(self, trials: Sequence[FrozenTrial]) -> None:
        """Queue what was failed, but not queued again within a lease's time."""
        taken_up = {trial.user_attrs.get(AGAIN) for trial in trials}
        left = [
            trial
            for trial in trials
            if trial.state == TrialState.FAIL
            and INTERRUPTED in trial.user_attrs
            and trial.number not in taken_up
        ]
        now = time.monotonic()
        self._unqueued = {trial.number: self._unqueued.get(trial.number, now) for trial in left}
        for trial in left:
            if now - self._unqueued[trial.number] > self._lease:
                self._queue_again(trial, trial.user_attrs.get(DEATHS, 0))

    def _end(self, number: int, state: TrialState, attributes: Mapping[str, Any]) -> bool:
        try:
            self._write(number, attributes)
            self.storage.set_trial_state_values(self._id(number), state)
        except UpdateFinishedTrialError:
            return False
        finally:
            if self._heart.holds(self._id(number)):
                self._heart.let_go()
        return True

    def _write(self, number: int, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self.storage.set_trial_user_attr(self._id(number), key, value)

    def _read(self, number: int) -> FrozenTrial:
        return self.storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)
