"""One worker's part of a search. Any number of them run at once, in any number of places."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from archspec.errors import DivergedError, ObjectiveError, RunError, StoppedError
from archspec.search.claims import Verdict
from archspec.search.control import Stop, last_stop
from archspec.search.events import Listener
from archspec.search.fidelity import Fidelity
from archspec.search.goals import goal_values
from archspec.search.holder import DIVERGED, Holder
from archspec.search.jobs import JOB, Jobs
from archspec.search.judging import assemble, assemble_check
from archspec.search.leases import LEASE, LEASE_SECONDS, Heart, LeaseLostError, Worker
from archspec.search.objective import Objective, Outcome, judge
from archspec.search.params import suggest
from archspec.search.progress import Progress
from archspec.search.reruns import Rerun, Reruns
from archspec.search.run_directory import DESIGNS
from archspec.search.rungs import first_fidelity
from archspec.search.samplers.base import SpaceExhaustedError
from archspec.search.space import Design
from archspec.search.sweep import StudyNotes
from archspec.search.trials import HASH, METRICS, SECONDS, VALUES, Trials
from archspec.search.workspace import Workspace

_POLL = 0.2  # seconds between two looks at what others do, while there is nothing to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a worker works.

    Attributes:
        lease: Seconds without a sign of life after which its trial is anybody's.
        slot: Tells workers apart that start together.
        stops: Requests to stop that were made before this search began.
    """

    lease: float = LEASE_SECONDS
    slot: int = 0
    stops: int = 0


class Session:
    """Runs trials, then finalists, until all are done by whoever; a context manager.

    Args:
        workspace: The search.
        objective: Judges one model with one seed.
        listener: Hears of what this worker does.
        terms: How to work.
    """

    def __init__(
        self, workspace: Workspace, objective: Objective, listener: Listener, terms: Terms
    ) -> None:
        self.spec = workspace.spec
        self._space = workspace.allowed.space
        self._allowed = workspace.allowed
        folder, notes = workspace.out / DESIGNS, StudyNotes(workspace.study)
        given = (workspace.spec, objective, folder, notes, listener.on_notice)
        self._objective = assemble(*given)
        self._check = assemble_check(*given)
        self._fidelity = first_fidelity(workspace.spec)
        self._listener = listener
        self._terms = terms
        self._storage = workspace.storage
        self._exhausted = False
        self.trials = Trials(workspace.study, workspace.allowed)
        self._heart = Heart(self._renew, self._look, seconds=terms.lease)
        worker = Worker.here()

        def hold(study: optuna.Study, key: str, queue_again: Callable[..., None]) -> Holder:
            return Holder(
                workspace.storage,
                study,
                key=key,
                worker=worker,
                heart=self._heart,
                lease=terms.lease,
                queue_again=queue_again,
                notify=listener.on_notice,
            )

        self._holder = hold(workspace.study, HASH, self.trials.queue_again)
        self._jobs_holder = hold(workspace.reruns, JOB, lambda *_: None)
        jobs = Jobs(self._jobs_holder, slot=terms.slot)
        self.reruns = Reruns(workspace.spec, self.trials, jobs)
        self.progress = Progress(workspace.spec, self.trials, jobs, listener)

    def __enter__(self) -> Self:
        self._heart.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._heart.__exit__(kind, error, traceback)

    def run(self) -> None:
        """Work until everything is done.

        Raises:
            StoppedError: Somebody asked for it; what was cut short waits in the queue.
            KeyboardInterrupt: Likewise, by Ctrl-C here.
        """
        try:
            while self._has_trials_left():
                if self._may_begin():
                    self._run_trial()
                else:
                    self._pause()
            self.reruns.run(self._rerun, self._pause)
            for holder in (self._holder, self._jobs_holder):
                holder.withdraw_unclaimed("the search is done")
        except KeyboardInterrupt:
            self._raise_if_ending()
            raise
        if self._heart.failure is not None:  # a lease that was lost at the end was made up for
            raise self._heart.failure

    def _has_trials_left(self) -> bool:
        self._raise_if_asked()
        self._holder.recover()
        trials = self.trials.all()
        done = sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials)
        open_ = any(t.state in (TrialState.WAITING, TrialState.RUNNING) for t in trials)
        return done < self.spec.trials and (open_ or not self._exhausted)

    def _may_begin(self) -> bool:
        """Whether there is room for another trial, and a design for it."""
        trials = self.trials.all()
        busy = [
            trial
            for trial in trials
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or (trial.state == TrialState.RUNNING and HASH in trial.user_attrs)
        ]
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        return len(busy) < self.spec.trials and (waiting or not self._exhausted)

    def _run_trial(self) -> None:
        trial = self.trials.study.ask()
        try:
            self._holder.begin(trial.number)
            design = self._propose(trial)
            if design is not None:
                self._train(trial, design)
        except (UpdateFinishedTrialError, LeaseLostError):
            self._listener.on_notice(
                f"trial {trial.number} was taken by another worker while this one was held up"
            )
        except ObjectiveError as error:
            self._holder.withdraw(trial.number, str(error))  # it would fail again
            raise
        except RunError:
            raise  # nothing can be written any more; others will find the trial
        except BaseException:
            self._holder.give_back(trial.number, "stopped")
            raise

    def _propose(self, trial: optuna.Trial) -> Design | None:
        """Return the design of a trial; None, the trial withdrawn, if there is none for it."""
        try:
            design = suggest(self._space, trial)
        except SpaceExhaustedError:
            self._exhausted = True
            self._holder.withdraw(trial.number, "no design is left")
            return None
        except optuna.TrialPruned as error:  # by a sampler of the user's
            self._holder.withdraw(trial.number, str(error))
            return None
        if design not in self._allowed:  # somebody else enqueued it
            self._holder.withdraw(trial.number, "it breaks a budget")
            return None
        return design

    def _train(self, trial: optuna.Trial, design: Design) -> None:
        source = self.trials.annotate(trial, design)
        verdict = self._holder.claim(trial.number, limit=self.spec.trials)
        if verdict is Verdict.TAKEN:
            self._holder.withdraw(trial.number, "another trial has the design")
            return
        if verdict is Verdict.SURPLUS:
            self._holder.give_back(trial.number, "there are enough trials")
            return
        number, planned = self.trials.num_done + 1, self.spec.trials
        started = self.progress.start("trial", number, planned, design, source)
        try:
            outcome = self._train_and_tell(trial.number, design)
        except BaseException:
            self.progress.drop(started)
            raise
        self.progress.finish(started, design, outcome)

    def _train_and_tell(self, number: int, design: Design) -> Outcome | None:
        """Train a design and end its trial; None if training diverged.

        Raises:
            LeaseLostError: The trial was taken away. The outcome is remembered beside the run, so
                whoever has the design now, and shares the directory, need not train it.
        """
        attributes: dict[str, Any]
        try:
            judged = self._judge(self._objective, design, self.spec.train.seed, self._fidelity)
        except DivergedError as error:
            outcome, values, attributes = None, None, {DIVERGED: str(error)}
        else:
            outcome, prices = judged, self._allowed.prices(design)
            values = list(goal_values(self.spec.goals, judged, prices))
            attributes = {METRICS: dict(judged.metrics), SECONDS: judged.seconds}
            if judged.values:
                attributes[VALUES] = judged.values
        if not self._holder.tell(number, values, attributes):
            raise LeaseLostError
        return outcome

    def _rerun(self, rerun: Rerun) -> Outcome | None:
        due = rerun.due
        objective = self._check if due.stage == "check" and self._check else self._objective
        started = self.progress.start(
            due.title, rerun.number, rerun.planned, rerun.design, rerun.result.source
        )
        try:
            outcome = self._judge(objective, rerun.design, due.seed, due.fidelity)
        except DivergedError:
            outcome = None
        except BaseException:
            self.progress.drop(started)
            raise
        self.progress.finish(started, rerun.design, outcome)
        return outcome

    def _judge(
        self, objective: Objective, design: Design, seed: int, fidelity: Fidelity | None
    ) -> Outcome:
        """Train; only here may the lease's thread interrupt, as here nothing is half-written."""
        try:
            with self._heart.interrupting():
                return judge(objective, self._space.model(design), seed, fidelity)
        except KeyboardInterrupt:
            self._heart.explain()
            raise

    def _pause(self) -> None:
        self._raise_if_asked()
        self._heart.explain()
        time.sleep(_POLL)
        self._holder.recover()
        self._jobs_holder.recover()

    def _renew(self, trial_id: int, beat: dict[str, object]) -> bool:
        try:
            self._storage.set_trial_user_attr(trial_id, LEASE, beat)
        except UpdateFinishedTrialError:
            return False
        return True

    def _look(self) -> str | None:
        """Say why to end at once, if so; and take the trials of the dead while this one trains."""
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            return "the process that started this worker is gone"
        stop = self._asked()
        if stop is not None and stop.now:
            return "`archspec study stop --now`"
        self._holder.recover()
        self._jobs_holder.recover()
        return None

    def _asked(self) -> Stop | None:
        stop = last_stop(self._storage, self._holder.study_id)
        return stop if stop.number > self._terms.stops else None

    def _raise_if_asked(self) -> None:
        self._raise_if_ending()
        if self._asked() is not None:
            raise StoppedError("stopped by `archspec study stop`")

    def _raise_if_ending(self) -> None:
        if self._heart.ending is not None:
            raise StoppedError(f"stopped by {self._heart.ending}") from None
