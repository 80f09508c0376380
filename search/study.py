"""Run a search: trials, then finalists again with fresh seeds, then what came of it as files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.trial import TrialState

from archspec.errors import DivergedError
from archspec.search.achievable import check_achievable
from archspec.search.events import Listener
from archspec.search.feasible import FeasibleSpace
from archspec.search.finalists import finalists, fresh_seeds, uniform_dense, with_reruns
from archspec.search.hand import hand_designs
from archspec.search.objective import Objective, Outcome, StoredObjective, TrainingObjective
from archspec.search.output import read_results, write_results
from archspec.search.params import suggest
from archspec.search.progress import Progress, describe_space
from archspec.search.results import (
    BudgetResult,
    DesignResult,
    SearchResults,
    SpaceResult,
    rank,
)
from archspec.search.run_directory import (
    DESIGNS,
    check_same_run,
    create_run,
    load_run,
    open_storage,
    open_study,
    open_url,
    set_trials,
)
from archspec.search.samplers.base import SpaceExhaustedError
from archspec.search.samplers.registry import make_sampler
from archspec.search.space import Design
from archspec.search.trials import Trials
from archspec.spec.model import ModelSpec
from archspec.spec.search.spec import SearchSpec
from archspec.train.files import lock_directory


def start_search(
    spec: SearchSpec,
    out: Path,
    *,
    objective: Objective | None = None,
    storage: str | None = None,
    listener: Listener | None = None,
) -> SearchResults:
    """Search from the start.

    Args:
        spec: What to search.
        out: Run directory to make.
        objective: Judges designs; by default the training that ``spec`` asks for.
        storage: Optuna storage URL; by default a journal file in ``out``.
        listener: Hears of progress.

    Raises:
        BudgetError: No design keeps to the budgets; nothing was trained or written.
        RunError: ``out`` exists or the storage cannot be opened.

    Example:
        >>> results = start_search(load_search("search.yaml"), Path("runs/a"))
        >>> results.best.placement
    """
    check_achievable(FeasibleSpace.of(spec))
    if storage is not None:
        open_url(storage)  # so that a wrong one leaves no directory behind
    create_run(out, spec, storage)
    return resume_search(out, objective=objective, storage=storage, listener=listener)


def resume_search(
    out: Path,
    *,
    given: SearchSpec | None = None,
    trials: int | None = None,
    objective: Objective | None = None,
    storage: str | None = None,
    listener: Listener | None = None,
) -> SearchResults:
    """Go on with a search, or return the results of one that is done.

    Args:
        out: The run directory.
        given: Refuse to go on unless the run is of this search.
        trials: Change how many trials there are in all.
        objective: As for ``start_search``.
        storage: Only needed if the storage's URL has a password.
        listener: Hears of progress.

    Raises:
        RunError: ``out`` is no search's directory, is of another search, or is in use.
    """
    spec, info = load_run(out)
    if given is not None:
        check_same_run(out, given, spec)
    with lock_directory(out, activity="searching"), _quiet_optuna():
        if trials is not None and trials != spec.trials:
            set_trials(out, spec, trials)
            spec, info = load_run(out)
        allowed = FeasibleSpace.of(spec)
        check_achievable(allowed)
        sampler = make_sampler(spec.sampler, allowed, seed=spec.seed)
        study = open_study(open_storage(out, info, storage), info, spec, sampler)
        judge = objective or TrainingObjective(spec.train, spec.metric, seeds=spec.seeds)
        stored = StoredObjective(judge, out / DESIGNS)
        session = _Session(out, spec, Trials(study, allowed), stored, listener or Listener())
        return session.run()


def finished_results(
    out: Path, *, given: SearchSpec | None = None, trials: int | None = None
) -> SearchResults | None:
    """Return the results of a search that ran to its end, None if it did not.

    Args:
        out: The run directory.
        given: As for ``resume_search``.
        trials: None is returned if the search ended with another number of trials.
    """
    spec, _ = load_run(out)
    if given is not None:
        check_same_run(out, given, spec)
    results = read_results(out)
    wanted = spec.trials if trials is None else trials
    return results if results is not None and results.trials == wanted else None


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna's line per trial; the listener has its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class _Session:
    """One process's part of a search."""

    def __init__(
        self,
        out: Path,
        spec: SearchSpec,
        trials: Trials,
        objective: Objective,
        listener: Listener,
    ) -> None:
        self._out = out
        self._spec = spec
        self._trials = trials
        self._allowed = trials.allowed
        self._objective = objective
        self._listener = listener
        self._progress = Progress(spec, trials, listener)
        self._exhausted = False

    def run(self) -> SearchResults:
        """Run what is left. A KeyboardInterrupt passes through, its trial queued again."""
        hand = hand_designs(self._allowed)
        self._trials.recover()
        self._trials.enqueue(hand)
        space, budgets = describe_space(self._allowed)
        self._listener.on_plan(self._progress.plan(self._out, hand, space, budgets))
        try:
            while self._trials.num_done < self._spec.trials and not self._exhausted:
                self._run_trial()
        except KeyboardInterrupt:
            self._trials.recover()
            raise
        designs = self._rerun(self._trials.completed())
        results = self._results(designs, space, budgets)
        write_results(self._out, results, self._model_of(results.best))
        self._listener.on_end(results)
        return results

    def _run_trial(self) -> None:
        study, space = self._trials.study, self._allowed.space
        trial = study.ask()
        try:
            design = suggest(space, trial)
        except SpaceExhaustedError:
            study.tell(trial, state=TrialState.FAIL)
            self._exhausted = True
            return
        if design not in self._allowed:  # somebody else enqueued it
            study.tell(trial, state=TrialState.FAIL)
            return
        source = self._trials.annotate(trial, design)
        number, planned = self._trials.num_done + 1, self._spec.trials
        started = self._progress.start("trial", number, planned, design, source)
        try:
            outcome = self._objective(space.model(design), self._spec.train.seed)
        except DivergedError as error:
            self._trials.tell_diverged(trial, str(error))
            self._progress.finish(started, design, None)
            return
        self._trials.tell(trial, outcome)
        self._progress.finish(started, design, outcome)

    def _rerun(self, completed: list[tuple[Design, DesignResult]]) -> list[DesignResult]:
        """Train the finalists again; their outcomes so far are remembered by the objective."""
        chosen = finalists([result for _, result in completed], self._spec)
        seeds = fresh_seeds(self._spec)
        designs, number = [], 0
        for design, result in completed:
            if result.trial not in chosen:
                designs.append(result)
                continue
            outcomes: list[Outcome | None] = []
            for seed in seeds:
                number += 1
                planned = len(chosen) * len(seeds)
                started = self._progress.start("re-run", number, planned, design, result.source)
                outcomes.append(self._try(design, seed))
                self._progress.finish(started, design, outcomes[-1])
            designs.append(with_reruns(result, outcomes))
        return designs

    def _try(self, design: Design, seed: int) -> Outcome | None:
        try:
            return self._objective(self._allowed.space.model(design), seed)
        except DivergedError:
            return None

    def _results(
        self, designs: list[DesignResult], space: SpaceResult, budgets: tuple[BudgetResult, ...]
    ) -> SearchResults:
        spec = self._spec
        if not designs:
            raise DivergedError(
                f"{self._out}: the training of every one of {self._trials.num_done} designs "
                "diverged; lower optimizer.lr of the train document and start again"
            )
        return SearchResults(
            name=spec.base.name,
            metric=spec.metric,
            direction=spec.direction,
            sampler=spec.sampler,
            trials=spec.trials,
            space=space,
            budgets=budgets,
            designs=rank(designs, spec.direction),
            diverged=self._trials.diverged,
            exhausted=self._exhausted,
            uniform_dense=uniform_dense(self._trials.completed(), self._allowed.space),
            seconds=self._progress.seconds,
        )

    def _model_of(self, result: DesignResult) -> ModelSpec:
        for design, other in self._trials.completed():
            if other.trial == result.trial:
                return self._allowed.space.model(design)
        raise AssertionError(f"trial {result.trial} is ranked but was not completed")
