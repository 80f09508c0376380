"""Run a search: trials, then finalists again with fresh seeds, then what came of it as files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from archspec.errors import DivergedError, RunError
from archspec.search.achievable import check_achievable
from archspec.search.control import last_stop
from archspec.search.crew import Crew
from archspec.search.events import Listener
from archspec.search.feasible import FeasibleSpace
from archspec.search.gather import gather_results
from archspec.search.hand import hand_designs
from archspec.search.leases import LEASE_SECONDS
from archspec.search.objective import Objective
from archspec.search.objectives.predicted import check_law
from archspec.search.objectives.registry import make_objective
from archspec.search.output import read_results, write_results
from archspec.search.progress import describe_space
from archspec.search.proxy import proxy_result
from archspec.search.results import BudgetResult, DesignResult, SearchResults, SpaceResult
from archspec.search.run_directory import (
    BEST_PROXY,
    check_same_run,
    create_run,
    load_run,
    set_trials,
)
from archspec.search.samplers.registry import sampler_of
from archspec.search.session import Session, Terms
from archspec.search.storage import quiet_optuna
from archspec.search.sweep import Notes, StudyNotes, noted_rates
from archspec.search.workspace import (
    Workspace,
    check_study_is_ours,
    open_workspace,
)
from archspec.spec.dump import to_yaml
from archspec.spec.model import ModelSpec
from archspec.spec.search.expand import shrink_of
from archspec.spec.search.spec import SearchSpec
from archspec.train.files import lock_directory, replace_text

_USER = "objective"  # the study's note of the user's objective


def start_search(
    spec: SearchSpec,
    out: Path,
    *,
    objective: Objective | None = None,
    user: str | None = None,
    storage: str | None = None,
    study: str | None = None,
    workers: int = 1,
    lease: float = LEASE_SECONDS,
    listener: Listener | None = None,
) -> SearchResults:
    """Search from the start, or join a search that runs elsewhere.

    Args:
        spec: What to search.
        out: Run directory to make.
        objective: Judges one model with one seed; by default what ``spec`` asks for.
        user: The user's objective as the command line names it, if ``spec`` wants one.
        storage: Optuna storage URL, or path of a journal; by default a journal file in ``out``.
        study: Name of the study in ``storage``; where it exists, its search is joined.
        workers: Processes that train here. With more than one, ``objective`` must be picklable, and
            a script must call this under ``if __name__ == "__main__":``.
        lease: Seconds without a sign of life after which a worker counts as dead.
        listener: Hears of progress.

    Raises:
        BudgetError: No design keeps to the budgets; nothing was trained or written.
        ObjectiveError: There is no such objective, or it cannot judge these designs.
        RunError: ``out`` exists, the storage cannot be opened, or ``study`` is of another search.
        StoppedError: Somebody asked the search to stop.

    Example:
        >>> results = start_search(load_search("search.yaml"), Path("runs/a"), workers=4)
        >>> results.best.placement
    """
    if study is not None and storage is None:
        raise RunError(f"the study {study} needs a storage that it is in; give --storage URL")
    _check(spec, FeasibleSpace.of(spec))
    judge = objective or make_objective(spec, user)
    if storage is not None:  # so that a wrong one leaves no directory behind
        check_study_is_ours(storage, study, spec)
    create_run(out, spec, storage, study=study)
    return resume_search(
        out,
        objective=judge,
        user=user,
        storage=storage,
        workers=workers,
        lease=lease,
        listener=listener,
    )


def resume_search(
    out: Path,
    *,
    given: SearchSpec | None = None,
    trials: int | None = None,
    objective: Objective | None = None,
    user: str | None = None,
    storage: str | None = None,
    workers: int = 1,
    lease: float = LEASE_SECONDS,
    listener: Listener | None = None,
) -> SearchResults:
    """Go on with a search, beside others who may be at it, or return what came of it.

    Args:
        out: The run directory; processes of several machines may share it.
        given: Refuse to go on unless the run is of this search.
        trials: Change how many trials there are in all.
        objective: As for ``start_search``.
        user: Likewise; documents name no code, so it is given again.
        storage: Where the study is, unless in ``out``.
        workers: As for ``start_search``.
        lease: As for ``start_search``.
        listener: Hears of progress.

    Raises:
        RunError: ``out`` is no search's directory, is of another search, or is in use by something
            else than a search.
        StoppedError: Somebody asked the search to stop.
    """
    spec, _ = load_run(out)
    if given is not None:
        check_same_run(out, given, spec)
    heard = listener or Listener()
    with lock_directory(out, activity="at work", shared=True), quiet_optuna():
        if trials is not None and trials != spec.trials:
            set_trials(out, spec, trials)
        with contextlib.closing(
            open_workspace(out, storage=storage, notify=heard.on_notice)
        ) as workspace:
            _check(workspace.spec, workspace.allowed)
            judge = objective or make_objective(workspace.spec, user)
            _check_same_user(out, StudyNotes(workspace.study), user)
            return _go_on(workspace, judge, heard, storage=storage, workers=workers, lease=lease)


def _go_on(
    workspace: Workspace,
    judge: Objective,
    heard: Listener,
    *,
    storage: str | None,
    workers: int,
    lease: float,
) -> SearchResults:
    out = workspace.out
    stops = last_stop(workspace.storage, workspace.study_id).number
    terms = Terms(lease=lease, stops=stops)
    with Session(workspace, judge, heard, terms) as session:
        space, budgets = _begin(session, workspace, heard)
        if workers > 1:
            Crew(session, out, judge, storage=storage, workers=workers, terms=terms).run(heard)
        else:
            session.run()
        results = _results(session, workspace, space, budgets)
    write_out = _writer(session, workspace)
    results = _with_proxy(session, workspace, results, write_out(results.best))
    write_results(out, results, write_out)
    heard.on_end(results)
    return results


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


def _check(spec: SearchSpec, allowed: FeasibleSpace) -> None:
    """Refuse a search that cannot be carried out.

    Raises:
        BudgetError: No design keeps to the budgets.
        SamplerError: The space is none for the sampler.
        ObjectiveError: The law does not hold here.
    """
    check_achievable(allowed)
    sampler_of(spec, allowed)
    check_law(spec, allowed)


def _check_same_user(out: Path, notes: Notes, user: str | None) -> None:
    """Refuse to judge some designs of a search by one function and some by another."""
    before = notes.get(_USER)
    if before is not None and user is not None and before != user:
        raise RunError(
            f"{out}: its designs were judged by --objective {before}, so {user} cannot go on with "
            "it; give that one, or start a search of its own by --out"
        )
    if user is not None:
        notes.set(_USER, user)


def _with_proxy(
    session: Session, workspace: Workspace, results: SearchResults, best: ModelSpec
) -> SearchResults:
    """Write the winner's proxy, and say what was trained in place of designs, if anything was."""
    asked = workspace.spec.proxy
    if asked is None:
        return results
    proxy = shrink_of(workspace.spec, asked)(best)
    replace_text(workspace.out / BEST_PROXY, to_yaml(proxy))
    found = proxy_result(
        best,
        proxy,
        check_d_model=asked.check.d_model if asked.check else None,
        pairs=session.reruns.checked(),
    )
    return results.model_copy(update={"proxy": found})


def _begin(
    session: Session, workspace: Workspace, listener: Listener
) -> tuple[SpaceResult, tuple[BudgetResult, ...]]:
    """Queue the hand designs, and say what is about to happen."""
    hand = hand_designs(workspace.allowed)
    session.trials.enqueue(hand)
    space, budgets = describe_space(workspace.allowed)
    listener.on_plan(session.progress.plan(workspace.out, hand, space, budgets))
    return space, budgets


def _results(
    session: Session,
    workspace: Workspace,
    space: SpaceResult,
    budgets: tuple[BudgetResult, ...],
) -> SearchResults:
    spec, trials = workspace.spec, session.trials
    designs = session.reruns.results()
    if not designs:
        raise DivergedError(
            f"{workspace.out}: the training of every one of {trials.num_done} designs diverged; "
            "lower optimizer.lr of the train document and start again"
        )
    return gather_results(
        spec,
        trials,
        (designs, session.reruns.rungs()),
        (space, budgets),
        noted_rates(StudyNotes(workspace.study)),
        seconds=sum(design.seconds for design in designs) + session.reruns.seconds,
        exhausted=trials.num_done < spec.trials,
    )


def _writer(session: Session, workspace: Workspace) -> Callable[[DesignResult], ModelSpec]:
    """Return what writes the design of a result out."""
    designs = {result.trial: design for design, result in session.trials.completed()}
    return lambda result: workspace.allowed.space.model(designs[result.trial])
