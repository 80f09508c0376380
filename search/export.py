"""The trials of a search as rows, and its best designs as model documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from archspec.errors import RunError
from archspec.search.drawing import Drawing
from archspec.search.params import design_of
from archspec.search.results import rank
from archspec.search.trials import HASH, METRICS, PRICES, SECONDS, SOURCE, Trials
from archspec.search.workspace import Workspace
from archspec.spec.dump import to_yaml
from archspec.train.files import replace_text


def trial_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """Return every trial as a flat row: state, design, values, prices, metrics, parameters."""
    drawing = Drawing(workspace.allowed.space)
    return [
        _row(trial, workspace, drawing)
        for trial in Trials(workspace.study, workspace.allowed).all()
    ]


def columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of rows, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as JSON, one a line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_best(workspace: Workspace, folder: Path, count: int) -> list[Path]:
    """Write the best designs by first runs as model documents.

    Args:
        workspace: The search.
        folder: Where to; it is made if it does not exist.
        count: How many.

    Returns:
        The files, best first.

    Raises:
        RunError: No design was trained yet, or a file cannot be written.
    """
    completed = Trials(workspace.study, workspace.allowed).completed()
    if not completed:
        raise RunError(f"{workspace.out}: no design was trained yet, so there is none to write")
    designs = {result.trial: design for design, result in completed}
    written = []
    for place, result in enumerate(
        rank([result for _, result in completed], workspace.spec.direction)[:count], start=1
    ):
        model = workspace.allowed.space.model(designs[result.trial])
        path = folder / f"{place:02}-trial{result.trial}.yaml"
        comment = (
            f"Trial {result.trial} of {workspace.study.study_name} ({result.source}): "
            f"{workspace.spec.metric} {result.value:.4f}\nhash {result.spec_hash}"
        )
        base = workspace.spec.base.name or "design"
        replace_text(path, to_yaml(model.replace(name=f"{base}-{result.trial}"), comment=comment))
        written.append(path)
    return written


def _row(trial: FrozenTrial, workspace: Workspace, drawing: Drawing) -> dict[str, Any]:
    attributes = trial.user_attrs
    design = design_of(workspace.allowed.space, trial)
    began, ended = trial.datetime_start, trial.datetime_complete
    row: dict[str, Any] = {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "source": attributes.get(SOURCE),
        "placement": None if design is None else drawing.placement(design),
        "pools": None if design is None else drawing.pools(design),
        "spec_hash": attributes.get(HASH),
        workspace.spec.metric: None if not trial.values else trial.values[0],
        "seconds": attributes.get(SECONDS),
        "began": None if began is None else began.isoformat(timespec="seconds"),
        "ended": None if ended is None else ended.isoformat(timespec="seconds"),
    }
    row |= attributes.get(PRICES, {})
    row |= {name: value for name, value in attributes.get(METRICS, {}).items() if name not in row}
    row |= trial.system_attrs.get("fixed_params", {})
    return row | trial.params
