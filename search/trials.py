"""An Optuna study read as a search: which designs are done, which were cut short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from archspec.errors import RunError
from archspec.search.drawing import Drawing
from archspec.search.feasible import FeasibleSpace
from archspec.search.hand import HandDesign
from archspec.search.holder import AGAIN, DEATHS
from archspec.search.params import design_of, to_params
from archspec.search.results import SEARCHED, DesignResult
from archspec.search.space import Design

SOURCE, HASH, METRICS, PRICES, SECONDS = "source", "spec_hash", "metrics", "prices", "seconds"
VALUES = "values"
DESIGN = "design"  # in words, for people who look at the study with tools of Optuna's


class Trials:
    """The trials of a search's study.

    A trial is COMPLETE once its design was trained, PRUNED if training diverged, FAIL if it was cut
    short or withdrawn; the design of one that was cut short waits in another trial.
    """

    def __init__(self, study: optuna.Study, allowed: FeasibleSpace) -> None:
        self.study = study
        self.allowed = allowed
        self.drawing = Drawing(allowed.space)
        self._space = allowed.space

    def enqueue(self, designs: Sequence[HandDesign]) -> None:
        """Let hand designs be tried first; those the study knows are skipped."""
        known = {design_of(self._space, trial) for trial in self.all()}
        for hand in designs:
            if hand.design not in known:
                params = to_params(self._space, hand.design)
                self.study.enqueue_trial(params, user_attrs={SOURCE: hand.name})

    def queue_again(self, trial: FrozenTrial, deaths: int) -> None:
        """Queue the design of a trial that was cut short, unless another trial has it."""
        design = design_of(self._space, trial)
        if design is None or any(
            other.number != trial.number
            and other.state != TrialState.FAIL
            and design_of(self._space, other) == design
            for other in self.all()
        ):
            return
        attributes: dict[str, Any] = {AGAIN: trial.number}
        if SOURCE in trial.user_attrs:
            attributes[SOURCE] = trial.user_attrs[SOURCE]
        if deaths:
            attributes[DEATHS] = deaths
        self.study.enqueue_trial(to_params(self._space, design), user_attrs=attributes)

    def annotate(self, trial: optuna.Trial, design: Design) -> str:
        """Note on a trial what is known before its training; return where its design is from."""
        trial.set_user_attr(DESIGN, self.drawing.words(design))
        trial.set_user_attr(PRICES, self.allowed.prices(design))
        if SOURCE not in trial.user_attrs:
            trial.set_user_attr(SOURCE, SEARCHED)
        trial.set_user_attr(HASH, self._space.hash(design))  # last: from here on it is a proposal
        return str(trial.user_attrs[SOURCE])

    @property
    def num_done(self) -> int:
        """Designs that were trained or diverged."""
        return len(self.all(TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def diverged(self) -> tuple[str, ...]:
        """The placements whose training diverged."""
        designs = (design_of(self._space, trial) for trial in self.all(TrialState.PRUNED))
        return tuple(self.drawing.placement(design) for design in designs if design is not None)

    def completed(self) -> list[tuple[Design, DesignResult]]:
        """Return the trained designs, in the order of their trials."""
        found = []
        for trial in self.all(TrialState.COMPLETE):
            design = design_of(self._space, trial)
            if design is not None:
                found.append((design, self._result(trial, design)))
        return found

    def _result(self, trial: FrozenTrial, design: Design) -> DesignResult:
        try:
            return self._read(trial, design)
        except (KeyError, TypeError, ValueError) as error:  # pydantic's is a ValueError
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RunError(
                f"trial {trial.number} of the study {self.study.study_name} is damaged, or not of "
                f"archspec's making: {reason}; put back a copy of the study"
            ) from None

    def _read(self, trial: FrozenTrial, design: Design) -> DesignResult:
        attributes = trial.user_attrs
        return DesignResult(
            trial=trial.number,
            placement=self.drawing.placement(design),
            pools=self.drawing.pools(design),
            source=attributes[SOURCE],
            spec_hash=attributes[HASH],
            value=(trial.values or [None])[0],
            metrics=attributes[METRICS],
            prices=attributes[PRICES],
            seconds=attributes[SECONDS],
            layers=tuple(self.drawing.labels(design)),
            params=to_params(self._space, design),
            seed_values=attributes.get(VALUES, ()),
        )

    def all(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in some states, by default all, as they are now."""
        return self.study.get_trials(deepcopy=False, states=states or None)
