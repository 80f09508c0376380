"""The objectives by the ``kind`` that search documents give them, as one literal table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from archspec.errors import ObjectiveError
from archspec.search.objective import Objective
from archspec.search.objectives.predicted import PredictedObjective
from archspec.search.objectives.train import TrainingObjective
from archspec.search.objectives.user import UserObjective
from archspec.spec.search.spec import SearchSpec

USER = "user"
OBJECTIVES: Mapping[str, Callable[[SearchSpec], Objective]] = {
    "train": TrainingObjective.of,
    "predicted": PredictedObjective.of,
}


def make_objective(spec: SearchSpec, label: str | None = None) -> Objective:
    """Return what a search is judged by, with one seed.

    Args:
        spec: The search.
        label: The user's objective as the command line names it, None for the document's.

    Raises:
        ObjectiveError: The document wants a user's objective and none is named, or it is no good.
        RunError: A law was not fitted on what is asked of it.
    """
    kind = spec.document.objective.kind
    if kind != USER and label is not None:
        raise ObjectiveError(
            f"--objective {label}: the search is judged by kind: {kind}; start one of its own by "
            "--out"
        )
    if kind != USER:
        return OBJECTIVES[kind](spec)
    if label is None:
        raise ObjectiveError(
            "objective.kind is user, and no document names code: give the function on the command "
            "line, --objective module:function, also to go on with a search"
        )
    return UserObjective.of(spec, label)


def with_user_objective(spec: SearchSpec) -> SearchSpec:
    """Return a search that a user's objective judges. Raises ObjectiveError."""
    objective = spec.document.objective
    if objective.sweep:
        raise ObjectiveError(
            "objective.sweep tries learning rates of trainings, but --objective judges designs "
            "otherwise; remove sweep"
        )
    changed = objective.model_copy(update={"kind": USER, "law": None})
    document = spec.document.model_copy(update={"objective": changed})
    return dataclasses.replace(spec, document=document)
