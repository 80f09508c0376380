"""What a process needs to take part in a search: its documents, its space and its two studies."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler

from archspec.errors import RunError
from archspec.search.feasible import FeasibleSpace
from archspec.search.patience import PatientStorage
from archspec.search.run_directory import JOURNAL, RunInfo, fingerprint, load_run
from archspec.search.samplers.registry import sampler_of
from archspec.search.storage import open_url, silent
from archspec.spec.search.objective import Direction
from archspec.spec.search.spec import SearchSpec

SEARCH = "search"  # the fingerprint of the documents a study belongs to


@dataclass(frozen=True)
class Workspace:
    """A run directory with its storage open.

    Attributes:
        out: The directory.
        spec: What is searched.
        allowed: The designs to choose from.
        storage: Of both studies.
        study: The designs' first trainings.
        reruns: The trainings after the trials: higher rungs, fresh seeds, checks of a proxy.
    """

    out: Path
    spec: SearchSpec
    allowed: FeasibleSpace
    storage: PatientStorage
    study: optuna.Study
    reruns: optuna.Study

    @property
    def study_id(self) -> int:
        """The storage's number of the study."""
        return self.storage.get_study_id_from_name(self.study.study_name)

    def close(self) -> None:
        """Let go of the storage's connections."""
        self.storage.close()


def open_workspace(
    out: Path,
    *,
    storage: str | None = None,
    notify: Callable[[str], None] = silent,
    wait: bool = False,
) -> Workspace:
    """Open a run directory, and begin its studies if nobody did.

    Args:
        out: The run directory.
        storage: Only needed if the storage's URL has a password.
        notify: Hears when the storage goes away and comes back.
        wait: Let it be away now, too.

    Raises:
        RunError: The directory is no search's, the storage cannot be opened, or the study in it
            belongs to another search.
    """
    spec, info = load_run(out)
    allowed = FeasibleSpace.of(spec)
    opened = open_url(_url(out, info, storage), notify=notify, wait=wait)
    sampler = sampler_of(spec, allowed)
    directions = [goal.direction for goal in spec.goals]
    study = _open_study(opened, info.study, directions, sampler)
    found = study.user_attrs.get(SEARCH)
    _check_fingerprint(info.study, found, spec)
    if found is None:
        _name_values(study, [goal.name for goal in spec.goals])
        study.set_user_attr(SEARCH, fingerprint(spec))
    reruns = _open_study(
        opened, f"{info.study}-reruns", directions[:1], optuna.samplers.RandomSampler()
    )
    return Workspace(out, spec, allowed, opened, study, reruns)


def _name_values(study: optuna.Study, names: Sequence[str]) -> None:
    """Say what a study's values are, which plots of Optuna's then say too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))


def read_workspace(
    out: Path, *, storage: str | None = None, notify: Callable[[str], None] = silent
) -> Workspace:
    """Open a run directory whose search has begun, to look at it.

    Raises:
        RunError: As for ``open_workspace``, or there is no study yet.
    """
    _, info = load_run(out)
    url = _url(out, info, storage)
    begun = "://" in url or Path(url).exists()  # opening a journal would make it
    if begun:
        with contextlib.closing(open_url(url, notify=notify)) as opened:
            begun = any(study.study_name == info.study for study in opened.get_all_studies())
    if not begun:
        raise RunError(f"{out}: its search has not begun: there is no study {info.study} yet")
    return open_workspace(out, storage=storage, notify=notify)


def check_study_is_ours(url: str, name: str | None, spec: SearchSpec) -> None:
    """Check that a storage can be opened and a study in it is of this search. Raises RunError."""
    with contextlib.closing(open_url(url)) as storage:
        for study in storage.get_all_studies():
            if study.study_name == name:
                _check_fingerprint(name, study.user_attrs.get(SEARCH), spec)


def _check_fingerprint(name: str, found: object, spec: SearchSpec) -> None:
    ours = fingerprint(spec)
    if found not in (None, ours):
        raise RunError(
            f"the study {name} is of another search: its documents have the fingerprint {found}, "
            f"these {ours}; join it with the documents that it was begun with, or choose another "
            "--study"
        )


def _url(out: Path, info: RunInfo, storage: str | None) -> str:
    if storage is None and info.storage is not None:
        raise RunError(
            f"{out}: its study is in {info.storage}, which is opened only where you name it; give "
            "--storage URL"
        )
    return storage or str(out / JOURNAL)


def _open_study(
    storage: PatientStorage, name: str, directions: Sequence[Direction], sampler: BaseSampler
) -> optuna.Study:
    with contextlib.suppress(KeyError):  # loading writes nothing
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    return optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        directions=directions,
        load_if_exists=True,
    )
