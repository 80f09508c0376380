"""What a trained model is asked: its own training's data, another document's, or a task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from archspec.errors import RunError, suggest
from archspec.spec.compose import apply_override
from archspec.spec.data.base import TaskConfig
from archspec.spec.data.registry import TASKS
from archspec.spec.load import load_train, resolve
from archspec.spec.model import ModelSpec
from archspec.spec.read import parse_tree
from archspec.spec.train import TrainSpec
from archspec.train.run_directory import CHECKPOINTS, TRAIN


def find_questions(
    path: Path,
    spec: ModelSpec,
    *,
    task: str | None = None,
    document: Path | None = None,
    overrides: Sequence[str] = (),
) -> TrainSpec:
    """Return the train document whose data a model is measured on.

    Args:
        path: A run, or a checkpoint.
        spec: The model's.
        task: Ask this task alone: as the run was trained on it, if it was, otherwise with the
            task's defaults in sequences as long as the model takes.
        document: Ask the data of this train document.
        overrides: Values set over the document, each ``path=value``; with ``task`` the source is
            ``data[0]``.

    Raises:
        SpecError: The document breaks the language.
        RunError: There is no such task, or a checkpoint outside of a run and nothing to ask.
    """
    if document is not None:
        return load_train(document, overrides)
    own = _own_document(path)
    if task is not None:
        return _of_task(task, own, spec, overrides)
    if own is None:
        raise RunError(
            f"{path}: not a run, nor a checkpoint inside of one, so there is no {TRAIN} that says "
            "what to ask; give --train or --task"
        )
    return load_train(own, overrides)


def _own_document(path: Path) -> Path | None:
    """Return the train document of a run, or of the run that a checkpoint is in."""
    runs = [path]
    if path.absolute().parent.name == CHECKPOINTS:
        runs.append(path.absolute().parent.parent)
    return next((run / TRAIN for run in runs if (run / TRAIN).is_file()), None)


def _of_task(task: str, own: Path | None, spec: ModelSpec, overrides: Sequence[str]) -> TrainSpec:
    if task not in TASKS:
        raise RunError(f"unknown task {task!r}; {suggest(task, TASKS)}")
    trained = None if own is None else load_train(own)
    seen = [] if trained is None else [source for source in trained.data if _is(source, task)]
    if trained is not None and seen:
        document = trained.model_dump()
        document["data"] = [source.model_dump() for source in seen]
    else:
        longest = spec.max_seq_len
        document = {
            "archspec": 1,
            "kind": "train",
            "seq_len": longest,
            "batch_tokens": longest,
            "tokens": longest,
            "data": [{"task": task}],
        }
    root = parse_tree(json.dumps(document), f"--task {task}")
    for override in overrides:
        apply_override(root, override)
    asked = resolve(root)
    assert isinstance(asked, TrainSpec), "a train document was resolved"
    return asked


def _is(source: object, task: str) -> bool:
    return isinstance(source, TaskConfig) and type(source) is TASKS[task]
