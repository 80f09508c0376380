"""A search's directory opened to be read, whether the search is done or runs elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from archspec.errors import DivergedError, RunError
from archspec.search.feasible import FeasibleSpace
from archspec.search.fidelity import Fidelity
from archspec.search.finalists import fresh_seeds, with_reruns
from archspec.search.gather import gather_results
from archspec.search.judging import assemble
from archspec.search.objective import Objective, Outcome, judge
from archspec.search.output import read_results
from archspec.search.params import from_params
from archspec.search.progress import describe_space
from archspec.search.results import DesignResult, SearchResults
from archspec.search.run_directory import (
    BASE,
    DESIGNS,
    JOURNAL,
    SEARCH,
    TRAIN,
    RunInfo,
    load_run,
    open_storage,
)
from archspec.search.rungs import Due, Ladder
from archspec.search.space import Design
from archspec.search.sweep import StudyNotes, noted_rates
from archspec.search.trials import Trials
from archspec.spec.model import ModelSpec
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
    """

    out: Path
    spec: SearchSpec
    allowed: FeasibleSpace
    results: SearchResults
    is_finished: bool

    @property
    def documents(self) -> dict[str, str]:
        """What was asked, by file name, as text."""
        names = [name for name in (SEARCH, BASE, TRAIN) if (self.out / name).is_file()]
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
    """Open a search's directory; nothing in it is changed.

    Args:
        out: The directory.
        storage: Only needed of a search that is not finished and whose storage has a password.

    Raises:
        RunError: It is no search's directory, or no design was trained yet.
    """
    spec, info = load_run(out)
    allowed = FeasibleSpace.of(spec)
    found = read_results(out)
    if found is not None:
        return SearchRun(out, spec, allowed, found, is_finished=found.trials >= spec.trials)
    results = _results_so_far(out, spec, allowed, _read_study(out, info, storage))
    return SearchRun(out, spec, allowed, results, is_finished=False)


def _results_so_far(
    out: Path, spec: SearchSpec, allowed: FeasibleSpace, study: optuna.Study
) -> SearchResults:
    trials = Trials(study, allowed)
    completed = trials.completed()
    if not completed:
        raise RunError(
            f"{out}: no design was trained yet, so there is nothing to report; wait for the first, "
            f"or go on with the search by archspec search --resume {out}"
        )
    notes = StudyNotes(study)
    ladder = Ladder(spec, [result for _, result in completed])
    models = {result.spec_hash: allowed.space.model(design) for design, result in completed}
    known = _recorded(ladder, assemble(spec, _not_recorded, out / DESIGNS, notes), models)
    rungs = ladder.rungs(known)
    full = {
        key: outcomes
        for key, outcomes in ladder.reruns(known).items()
        if len(outcomes) == len(fresh_seeds(spec))
    }
    designs = [
        with_reruns(result, full[result.spec_hash]) if result.spec_hash in full else result
        for _, result in completed
    ]
    return gather_results(
        spec,
        trials,
        (ladder.order(designs, rungs), rungs),
        describe_space(allowed),
        noted_rates(notes),
        seconds=sum(result.seconds for result in designs),
    )


class _NotRecordedError(Exception):
    """A training was not done yet."""


def _not_recorded(
    spec: ModelSpec,  # noqa: ARG001 - a protocol's
    seed: int,  # noqa: ARG001
    *,
    fidelity: Fidelity | None = None,  # noqa: ARG001
) -> Outcome:
    raise _NotRecordedError


def _recorded(
    ladder: Ladder, objective: Objective, models: Mapping[str, ModelSpec]
) -> dict[Due, Outcome | None]:
    """Return the later trainings that are on the disk."""
    known: dict[Due, Outcome | None] = {}
    missing: set[Due] = set()
    while batch := [due for due in ladder.due(known) if due not in missing]:
        for due in batch:
            try:
                known[due] = judge(objective, models[due.design], due.seed, due.fidelity)
            except DivergedError:
                known[due] = None
            except _NotRecordedError:
                missing.add(due)
    return known


def _read_study(out: Path, info: RunInfo, storage: str | None) -> optuna.Study:
    """Open the study; its journal is not repaired, as another process may be writing."""
    opened: BaseStorage
    if storage is None and info.storage is None and not info.needs_storage:
        opened = JournalStorage(JournalFileBackend(str(out / JOURNAL)))
    else:
        opened = open_storage(out, info, storage)
    try:
        return optuna.load_study(study_name=info.study, storage=opened)
    except KeyError:
        raise RunError(
            f"{out}: its study {info.study} has not begun; go on with the search by archspec "
            f"search --resume {out}"
        ) from None
