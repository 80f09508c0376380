"""Load documents: one function for each kind, and one for any kind."""

from __future__ import annotations

import os
import pathlib
from typing import Any, Literal, overload

from archspec.errors import SpecError, suggest
from archspec.spec.documents import DOCUMENTS
from archspec.spec.model import ModelSpec
from archspec.spec.read import read_tree
from archspec.spec.resolve import resolve_model
from archspec.spec.search import (
    SearchDocument,
    SearchSpec,
    check_layers,
    check_pool_size,
    pool_of,
)
from archspec.spec.train import TrainSpec
from archspec.spec.tree import Node, describe
from archspec.spec.validate import Reporter

AnyPath = str | os.PathLike[str]
Spec = ModelSpec | TrainSpec | SearchSpec


def load_model(path: AnyPath) -> ModelSpec:
    """Load a model document as a flat spec.

    Raises:
        SpecError: With every problem of the file, each with its place and a way out.

    Example:
        >>> spec = load_model("specs/models/tiny.yaml")
    """
    return resolve_model(_read(path, "model"))


def load_train(path: AnyPath) -> TrainSpec:
    """Load a train document. Raises SpecError."""
    return _resolve_train(_read(path, "train"))


def load_search(path: AnyPath) -> SearchSpec:
    """Load a search document and the documents it names. Raises SpecError."""
    return _resolve_search(_read(path, "search"))


def load(path: AnyPath) -> Spec:
    """Load a document of any kind. Raises SpecError."""
    root = _read(path, None)
    kind = root.at(("kind",))
    if kind is not None and kind.value == "train":
        return _resolve_train(root)
    if kind is not None and kind.value == "search":
        return _resolve_search(root)
    return resolve_model(root)


def _read(path: AnyPath, wanted: str | None) -> Node:
    """Read a file and check its head, so that a wrong kind gives one error and not fifty."""
    root = read_tree(pathlib.Path(path))
    reporter = Reporter(root)
    if not isinstance(root.value, dict):
        reporter.report((), f"a document must be a map, but this is {describe(root.plain())}")
        reporter.raise_problems()
    kind, version = root.at(("kind",)), root.at(("archspec",))
    if kind is None:
        reporter.report((), f"required key 'kind' is missing; {suggest('', DOCUMENTS)}")
    elif kind.value not in DOCUMENTS:
        message = f"unknown kind {describe(kind.plain())}; {suggest(kind.value, DOCUMENTS)}"
        reporter.report(("kind",), message)
    elif wanted is not None and kind.value != wanted:
        reporter.report(("kind",), f"expected a {wanted} document, but this is kind {kind.value!r}")
    if version is None:
        reporter.report((), "required key 'archspec' is missing; start the file with `archspec: 1`")
    elif version.value != 1 or isinstance(version.value, bool):
        message = f"this archspec reads version 1, but the file is {describe(version.plain())}"
        reporter.report(("archspec",), message)
    reporter.raise_problems()
    return root


def _resolve_train(root: Node) -> TrainSpec:
    reporter = Reporter(root)
    fields = reporter.validate_fields(TrainSpec)
    reporter.raise_problems()
    spec = TrainSpec(**fields)
    for fault in spec.check():
        reporter.report(fault.path, fault.message)
    reporter.raise_problems()
    return spec.located(pathlib.Path(root.place.file).parent)


def _resolve_search(root: Node) -> SearchSpec:
    reporter = Reporter(root)
    fields = reporter.validate_fields(SearchDocument)
    base = _named(fields.get("base"), "model", root, reporter, ("base",))
    objective = fields.get("objective")
    train_path = objective.train if objective else None
    train = _named(train_path, "train", root, reporter, ("objective", "train"))
    if train is not None and objective and objective.metric not in train.metrics:
        message = f"unknown metric {objective.metric!r}; {suggest(objective.metric, train.metrics)}"
        reporter.report(("objective", "metric"), message)
    if train is not None and base is not None and train.seq_len > base.max_seq_len:
        reporter.report(
            ("objective", "train"),
            f"seq_len <= max_seq_len must hold, but {train_path} has seq_len={train.seq_len} and "
            f"the base has max_seq_len={base.max_seq_len}; shorten one or raise the other",
        )
    vary, budgets = fields.get("vary"), fields.get("budgets")
    if base is not None and vary is not None:
        _check_vary(vary, base, reporter)
    if budgets is not None:
        _check_budgets(budgets, reporter)
    reporter.raise_problems()
    assert base is not None, "a base that is missing was reported"
    assert train is not None, "a train document that is missing was reported"
    sizes = fields["vary"].model_extra or {}
    return SearchSpec(
        document=SearchDocument(**fields),
        base=base,
        train=train,
        choices=_layer_choices(fields["vary"], base),
        pool_sizes={pool_of(key): tuple(values) for key, values in sizes.items()},
        metric=fields["objective"].metric,
        direction=fields["objective"].direction,
        seeds=fields["objective"].seeds,
        **{name: fields[name] for name in ("budgets", "trials", "finalists", "sampler", "seed")},
    )


@overload
def _named(
    name: str | None, kind: Literal["model"], root: Node, reporter: Reporter, path: tuple[str, ...]
) -> ModelSpec | None: ...
@overload
def _named(
    name: str | None, kind: Literal["train"], root: Node, reporter: Reporter, path: tuple[str, ...]
) -> TrainSpec | None: ...
def _named(
    name: str | None, kind: str, root: Node, reporter: Reporter, path: tuple[str, ...]
) -> ModelSpec | TrainSpec | None:
    """Load a document that another one names; its own problems are passed on with their places."""
    if name is None:
        return None
    file = pathlib.Path(root.place.file).parent / name
    if not file.is_file():
        reporter.report(path, f"no such file: {file}; paths start from this document")
        return None
    try:
        return load_model(file) if kind == "model" else load_train(file)
    except SpecError as error:
        reporter.problems.extend(error.problems)
        return None


def _check_vary(vary: Any, base: ModelSpec, reporter: Reporter) -> None:
    if vary.layers is None and not vary.model_extra:
        reporter.report(("vary",), "nothing varies; give `layers` or `pools.NAME.num_keys`")
    if vary.layers is not None:
        for path, message in check_layers(vary.layers, base):
            reporter.report(("vary", "layers", *path), message)
    for key, values in (vary.model_extra or {}).items():
        fault = check_pool_size(key, values, base)
        if fault is not None:
            reporter.report(("vary", key), fault)


def _check_budgets(budgets: Any, reporter: Reporter) -> None:
    for name, budget in budgets.given().items():
        if budget.max is None and budget.min is None:
            reporter.report(("budgets", name), "gives no bound; add max or min")


def _layer_choices(vary: Any, base: ModelSpec) -> tuple[tuple[tuple[str, ...], ...], ...]:
    if vary.layers is None:
        return tuple((layer.names,) for layer in base.layers)
    free = tuple(_names(choice) for choice in vary.layers.choices)
    fixed = {index: (_names(choice),) for index, choice in vary.layers.fixed.items()}
    return tuple(fixed.get(index, free) for index in range(len(base.layers)))


def _names(choice: str | list[str]) -> tuple[str, ...]:
    return (choice,) if isinstance(choice, str) else tuple(choice)
