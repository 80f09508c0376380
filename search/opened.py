"""A search's directory opened to be read, whether the search is done or runs elsewhere."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState

from archspec.errors import RunError
from archspec.search.feasible import FeasibleSpace
from archspec.search.finalists import fresh_seeds, with_reruns
from archspec.search.gather import gather_results
from archspec.search.jobs import job_of, outcome_of
from archspec.search.objective import Outcome
from archspec.search.output import read_results
from archspec.search.params import from_params
from archspec.search.progress import describe_space
from archspec.search.results import DesignResult, SearchResults
from archspec.search.run_directory import BASE, HARDWARE, PLAN, SEARCH, TRAIN, load_run
from archspec.search.rungs import Ladder
from archspec.search.space import Design
from archspec.search.status import study_status
from archspec.search.storage import quiet_optuna
from archspec.search.sweep import StudyNotes, noted_rates
from archspec.search.trials import Trials
from archspec.search.workspace import Workspace, read_workspace
from archspec.spec.search.spec import SearchSpec


@dataclass(frozen=True)
class SearchRun:
    """What a search found, or what it found so far.

    Attributes:
        out: Its directory, as the user named it.
        spec: What was searched.
        allowed: The space under its budgets.
        results: Its results.
        is_finished: Whether it ran to its end.
        is_running: Whether a worker is at it.
    """

    out: Path
    spec: SearchSpec
    allowed: FeasibleSpace
    results: SearchResults
    is_finished: bool
    is_running: bool = False

    @property
    def documents(self) -> dict[str, str]:
        """What was asked, by file name, as text."""
        asked = (SEARCH, BASE, TRAIN, PLAN, HARDWARE)
        names = [name for name in asked if (self.out / name).is_file()]
        return {name: (self.out / name).read_text() for name in names}

    def design_of(self, result: DesignResult) -> Design:
        """Return the design that a result is of.

        Raises:
            RunError: It is none of this space: the documents in the directory were changed.
        """
        design = from_params(self.allowed.space, result.params)
        if design is None:
            raise RunError(
                f"{self.out}: trial {result.trial} ({result.placement}) is no design of the space "
                "that search.yaml in this directory describes; put back the file as it was"
            )
        return design


def open_run(out: Path, *, storage: str | None = None) -> SearchRun:
    """Open a search's directory to read what it found.

    Args:
        out: The directory.
        storage: Where the study of a search that is not finished is, unless in ``out``.

    Raises:
        RunError: It is no search's directory, or no design was trained yet.
    """
    spec, _ = load_run(out)
    found = read_results(out)
    if found is not None and found.trials >= spec.trials:  # otherwise there are more since
        return SearchRun(out, spec, FeasibleSpace.of(spec), found, is_finished=True)
    with quiet_optuna(), contextlib.closing(read_workspace(out, storage=storage)) as workspace:
        results = _results_so_far(workspace)
        workers = study_status(workspace).workers
    is_running = any(worker.state == "alive" for worker in workers)
    return SearchRun(out, spec, workspace.allowed, results, False, is_running)


def _results_so_far(workspace: Workspace) -> SearchResults:
    out, spec, allowed = workspace.out, workspace.spec, workspace.allowed
    trials = Trials(workspace.study, allowed)
    completed = [result for _, result in trials.completed()]
    if not completed:
        raise RunError(
            f"{out}: no design was trained yet, so there is nothing to report; wait for the first, "
            f"or go on with the search by archspec search --resume {out}"
        )
    ladder = Ladder(spec, completed)
    known = ladder.named(_outcomes(workspace))
    again = {
        key: outcomes
        for key, outcomes in ladder.reruns(known).items()
        if len(outcomes) == len(fresh_seeds(spec))
    }
    designs = [
        with_reruns(result, again[result.spec_hash]) if result.spec_hash in again else result
        for result in completed
    ]
    rungs = ladder.rungs(known)
    return gather_results(
        spec,
        trials,
        (ladder.order(designs, rungs), rungs),
        describe_space(allowed),
        noted_rates(StudyNotes(workspace.study)),
        seconds=sum(result.seconds for result in completed),
    )


def _outcomes(workspace: Workspace) -> dict[str, Outcome | None]:
    """Return what came of the trainings after the trials that are done, by name."""
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = workspace.reruns.get_trials(deepcopy=False, states=done)
    return {job_of(trial): outcome_of(trial) for trial in trials}
