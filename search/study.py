"""Run a search: trials, then finalists again with fresh seeds, then what came of it as files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.trial import TrialState

from archspec.errors import DivergedError, ObjectiveError, RunError
from archspec.search.achievable import check_achievable
from archspec.search.events import Listener
from archspec.search.feasible import FeasibleSpace
from archspec.search.finalists import with_reruns
from archspec.search.gather import gather_results
from archspec.search.hand import hand_designs
from archspec.search.judging import assemble, assemble_check
from archspec.search.objective import Objective, Outcome, judge
from archspec.search.objectives.predicted import check_range
from archspec.search.objectives.registry import make_objective
from archspec.search.output import read_results, write_results
from archspec.search.params import suggest
from archspec.search.progress import Progress, describe_space
from archspec.search.proxy import proxy_result, spread
from archspec.search.results import (
    BudgetResult,
    DesignResult,
    SearchResults,
    SpaceResult,
)
from archspec.search.run_directory import (
    BEST_PROXY,
    DESIGNS,
    check_same_run,
    create_run,
    load_run,
    open_storage,
    open_study,
    open_url,
    set_trials,
)
from archspec.search.rungs import Due, Ladder, first_fidelity
from archspec.search.samplers.base import SpaceExhaustedError
from archspec.search.samplers.registry import make_sampler
from archspec.search.space import Design
from archspec.search.stage_results import ProxyResult, RungResult
from archspec.search.sweep import Notes, StudyNotes, noted_rates
from archspec.search.trials import Trials
from archspec.spec.dump import to_yaml
from archspec.spec.model import ModelSpec
from archspec.spec.search.expand import shrink_of
from archspec.spec.search.spec import SearchSpec
from archspec.train.files import lock_directory, replace_text

_USER = "objective"  # the note of the user's objective


def start_search(
    spec: SearchSpec,
    out: Path,
    *,
    objective: Objective | None = None,
    user: str | None = None,
    storage: str | None = None,
    listener: Listener | None = None,
) -> SearchResults:
    """Search from the start.

    Args:
        spec: What to search.
        out: Run directory to make.
        objective: Judges one model with one seed; by default what ``spec`` asks for.
        user: The user's objective as the command line names it, if ``spec`` wants one.
        storage: Optuna storage URL; by default a journal file in ``out``.
        listener: Hears of progress.

    Raises:
        BudgetError: No design keeps to the budgets; nothing was trained or written.
        ObjectiveError: There is no such objective, or it cannot judge these designs.
        RunError: ``out`` exists or the storage cannot be opened.

    Example:
        >>> results = start_search(load_search("search.yaml"), Path("runs/a"))
        >>> results.best.placement
    """
    _check(spec, FeasibleSpace.of(spec))
    if objective is None:
        make_objective(spec, user)  # so that a wrong one leaves no directory behind
    if storage is not None:
        open_url(storage)  # so that a wrong one leaves no directory behind
    create_run(out, spec, storage)
    return resume_search(out, objective=objective, user=user, storage=storage, listener=listener)


def resume_search(
    out: Path,
    *,
    given: SearchSpec | None = None,
    trials: int | None = None,
    objective: Objective | None = None,
    user: str | None = None,
    storage: str | None = None,
    listener: Listener | None = None,
) -> SearchResults:
    """Go on with a search, or return the results of one that is done.

    Args:
        out: The run directory.
        given: Refuse to go on unless the run is of this search.
        trials: Change how many trials there are in all.
        objective: As for ``start_search``.
        user: Likewise; documents name no code, so it is given again.
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
        _check(spec, allowed)
        sampler = make_sampler(spec.sampler, allowed, seed=spec.seed)
        study = open_study(open_storage(out, info, storage), info, spec, sampler)
        notes = StudyNotes(study)
        _check_same_user(out, notes, user)
        session = _Session(
            out,
            spec,
            Trials(study, allowed, spec.goals),
            objective or make_objective(spec, user),
            notes,
            listener or Listener(),
        )
        return session.run()


def _check(spec: SearchSpec, allowed: FeasibleSpace) -> None:
    """Refuse a search that cannot be carried out. Raises BudgetError or ObjectiveError."""
    check_achievable(allowed)
    law = spec.document.objective.law
    if law is not None:
        check_range(law, allowed)


def _check_same_user(out: Path, notes: Notes, user: str | None) -> None:
    """Refuse to judge some designs of a run by one function and some by another."""
    before = notes.get(_USER)
    if before is not None and user is not None and before != user:
        raise RunError(
            f"{out}: its designs were judged by --objective {before}, so {user} cannot go on with "
            "it; give that one, or start a search of its own by --out"
        )
    if user is not None:
        notes.set(_USER, user)


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
        notes: Notes,
        listener: Listener,
    ) -> None:
        self._out = out
        self._spec = spec
        self._trials = trials
        self._allowed = trials.allowed
        self._notes = notes
        self._objective = assemble(spec, objective, out / DESIGNS, notes)
        self._check = assemble_check(spec, objective, out / DESIGNS, notes)
        self._fidelity = first_fidelity(spec)
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
        designs, rungs = self._climb(self._trials.completed())
        results = self._results(designs, rungs, space, budgets)
        best = self._model_of(results.best)
        if self._spec.proxy is not None:
            proxy = shrink_of(self._spec, self._spec.proxy)(best)
            replace_text(self._out / BEST_PROXY, to_yaml(proxy))
            results = results.model_copy(update={"proxy": self._proxy(best, proxy, rungs[0])})
        write_results(self._out, results, self._model_of)
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
            outcome = judge(
                self._objective, space.model(design), self._spec.train.seed, self._fidelity
            )
            self._trials.tell(trial, outcome)
        except DivergedError as error:
            self._trials.tell_diverged(trial, str(error))
            self._progress.finish(started, design, None)
            return
        except ObjectiveError as error:
            self._trials.tell_failed(trial, str(error))
            raise
        self._progress.finish(started, design, outcome)

    def _climb(
        self, completed: list[tuple[Design, DesignResult]]
    ) -> tuple[tuple[DesignResult, ...], tuple[RungResult, ...]]:
        """Train survivors longer and finalists again; outcomes so far are remembered."""
        designs = {result.spec_hash: (design, result) for design, result in completed}
        ladder = Ladder(self._spec, [result for _, result in completed])
        known: dict[Due, Outcome | None] = {}
        while batch := ladder.due(known):
            for number, due in enumerate(batch, 1):
                design, result = designs[due.design]
                stage = f"rung {due.rung}" if due.stage == "rung" else due.stage
                started = self._progress.start(stage, number, len(batch), design, result.source)
                known[due] = self._try(self._objective, design, due)
                self._progress.finish(started, design, known[due])
        reruns = ladder.reruns(known)
        results = [
            with_reruns(result, reruns[key]) if key in reruns else result
            for key, (_, result) in designs.items()
        ]
        rungs = ladder.rungs(known)
        return ladder.order(results, rungs), rungs

    def _try(self, objective: Objective, design: Design, due: Due) -> Outcome | None:
        try:
            return judge(objective, self._allowed.space.model(design), due.seed, due.fidelity)
        except DivergedError:
            return None

    def _proxy(self, best: ModelSpec, proxy: ModelSpec, first: RungResult) -> ProxyResult:
        """Train some designs at the second size too, if one is asked for, and compare ranks."""
        asked = self._spec.proxy.check if self._spec.proxy else None
        if asked is None or self._check is None:
            return proxy_result(best, proxy)
        designs = {result.spec_hash: (d, result) for d, result in self._trials.completed()}
        chosen, pairs = spread(first, asked.designs), []
        for number, entry in enumerate(chosen, 1):
            design, result = designs[entry.spec_hash]
            started = self._progress.start("check", number, len(chosen), design, result.source)
            due = Due(
                stage="check",
                rung=0,
                design=entry.spec_hash,
                seed=self._spec.train.seed,
                fidelity=self._fidelity,
            )
            outcome = self._try(self._check, design, due)
            self._progress.finish(started, design, outcome)
            if outcome is not None and entry.values is not None:
                pairs.append((entry.values[0], outcome.value))
        return proxy_result(best, proxy, check_d_model=asked.d_model, pairs=pairs)

    def _results(
        self,
        designs: tuple[DesignResult, ...],
        rungs: tuple[RungResult, ...],
        space: SpaceResult,
        budgets: tuple[BudgetResult, ...],
    ) -> SearchResults:
        spec = self._spec
        if not designs:
            raise DivergedError(
                f"{self._out}: the training of every one of {self._trials.num_done} designs "
                "diverged; lower optimizer.lr of the train document and start again"
            )
        return gather_results(
            spec,
            self._trials,
            (designs, rungs),
            (space, budgets),
            noted_rates(self._notes),
            seconds=self._progress.seconds,
            exhausted=self._exhausted,
        )

    def _model_of(self, result: DesignResult) -> ModelSpec:
        for design, other in self._trials.completed():
            if other.trial == result.trial:
                return self._allowed.space.model(design)
        raise AssertionError(f"trial {result.trial} is ranked but was not completed")
