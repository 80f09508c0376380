"""An Optuna study read as a search: which designs are done, which were cut short."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from archspec.search.drawing import Drawing
from archspec.search.feasible import FeasibleSpace
from archspec.search.goals import goal_values
from archspec.search.hand import HandDesign
from archspec.search.objective import Outcome
from archspec.search.params import design_of, to_params
from archspec.search.results import SEARCHED, DesignResult
from archspec.search.space import Design
from archspec.spec.search.objective import Goal

SOURCE, HASH, METRICS, PRICES, SECONDS = "source", "spec_hash", "metrics", "prices", "seconds"
DIVERGED, FAILED, VALUES = "diverged", "failed", "values"
_ALONE = (Goal(name="value", direction="minimize"),)  # where only the value counts


class Trials:
    """The trials of a search's study.

    A trial is COMPLETE once its design was trained, PRUNED if training diverged, FAIL if the
    process died meanwhile; a failed trial's design waits in another trial.
    """

    def __init__(
        self, study: optuna.Study, allowed: FeasibleSpace, goals: Sequence[Goal] = ()
    ) -> None:
        self.study = study
        self._goals = goals
        self.allowed = allowed
        self._space = allowed.space
        self._drawing = Drawing(allowed.space)

    def enqueue(self, designs: Sequence[HandDesign]) -> None:
        """Let hand designs be tried first; those the study knows are skipped."""
        known = {design_of(self._space, trial) for trial in self._all()}
        for hand in designs:
            if hand.design not in known:
                params = to_params(self._space, hand.design)
                self.study.enqueue_trial(params, user_attrs={SOURCE: hand.name})

    def recover(self) -> None:
        """Fail the trials a dead process left running, after their designs are queued again.

        The design is queued before the trial is failed: a second death in between queues nothing
        twice, as a waiting design is not queued again.
        """
        waiting = {design_of(self._space, t) for t in self._all(TrialState.WAITING)}
        for trial in self._all(TrialState.RUNNING):
            design = design_of(self._space, trial)
            if design is not None and design not in waiting:
                source = {SOURCE: trial.user_attrs[SOURCE]} if SOURCE in trial.user_attrs else {}
                self.study.enqueue_trial(to_params(self._space, design), user_attrs=source)
            self.study.tell(trial.number, state=TrialState.FAIL)

    def annotate(self, trial: optuna.Trial, design: Design) -> str:
        """Note on a trial what is known before its training; return where its design is from."""
        trial.set_user_attr(HASH, self._space.hash(design))
        trial.set_user_attr(PRICES, self.allowed.prices(design))
        if SOURCE not in trial.user_attrs:
            trial.set_user_attr(SOURCE, SEARCHED)
        return str(trial.user_attrs[SOURCE])

    def tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Complete a trial with its value in every goal. Raises ObjectiveError if one has none."""
        values = goal_values(self._goals or _ALONE, outcome, trial.user_attrs[PRICES])
        trial.set_user_attr(METRICS, dict(outcome.metrics))
        trial.set_user_attr(SECONDS, outcome.seconds)
        if outcome.values:
            trial.set_user_attr(VALUES, outcome.values)
        self.study.tell(trial, values)

    def tell_diverged(self, trial: optuna.Trial, message: str) -> None:
        """End a trial whose training diverged; its design is not tried again."""
        trial.set_user_attr(DIVERGED, message)
        self.study.tell(trial, state=TrialState.PRUNED)

    def tell_failed(self, trial: optuna.Trial, message: str) -> None:
        """Fail a trial whose objective is at fault; its design is not queued again."""
        trial.set_user_attr(FAILED, message)
        self.study.tell(trial, state=TrialState.FAIL)

    @property
    def num_done(self) -> int:
        """Designs that were trained or diverged."""
        return len(self._all(TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def diverged(self) -> tuple[str, ...]:
        """The placements whose training diverged."""
        designs = (design_of(self._space, trial) for trial in self._all(TrialState.PRUNED))
        return tuple(self._drawing.placement(design) for design in designs if design is not None)

    def completed(self) -> list[tuple[Design, DesignResult]]:
        """Return the trained designs, in the order of their trials."""
        found = []
        for trial in self._all(TrialState.COMPLETE):
            design = design_of(self._space, trial)
            if design is not None:
                found.append((design, self._result(trial, design)))
        return found

    def _result(self, trial: FrozenTrial, design: Design) -> DesignResult:
        assert trial.values is not None, "a complete trial has values"
        attributes = trial.user_attrs
        return DesignResult(
            trial=trial.number,
            placement=self._drawing.placement(design),
            pools=self._drawing.pools(design),
            source=attributes[SOURCE],
            spec_hash=attributes[HASH],
            value=trial.values[0],
            metrics=attributes[METRICS],
            prices=attributes[PRICES],
            seconds=attributes[SECONDS],
            layers=tuple(self._drawing.labels(design)),
            params=to_params(self._space, design),
            seed_values=attributes.get(VALUES, ()),
        )

    def _all(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)
