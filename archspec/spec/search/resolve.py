"""A search document to a SearchSpec: names, layers, pool sizes and metric checked against the base.

What may vary becomes whole layers, so that whoever executes a search never looks up a name again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from archspec.errors import suggest
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search.budgets import Budgets
from archspec.spec.search.check import check_layers, check_pool_size, pool_of
from archspec.spec.search.document import SearchDocument
from archspec.spec.search.objective import Objective
from archspec.spec.search.spec import SearchSpec
from archspec.spec.search.variant import Variant
from archspec.spec.search.vary import Choice, LayerChoices, Vary
from archspec.spec.train import TrainSpec
from archspec.spec.tree import Node
from archspec.spec.validate import Reporter


def resolve_search(
    fields: Mapping[str, Any],
    *,
    base: ModelSpec | None,
    base_root: Node | None,
    train: TrainSpec | None,
    reporter: Reporter,
) -> SearchSpec:
    """Join a document's valid fields with the documents it names.

    Args:
        fields: The fields of a ``SearchDocument`` that are valid.
        base: The base model, None if it is missing or wrong, which was reported.
        base_root: Its composed document.
        train: The train document, likewise.
        reporter: Takes what is wrong.

    Raises:
        SpecError: With every problem reported so far.
    """
    if train is not None and "objective" in fields:
        _check_objective(fields["objective"], train, base, reporter)
    if "budgets" in fields:
        _check_budgets(fields["budgets"], reporter)
    choices: tuple[tuple[LayerSpec, ...], ...] = ()
    if base is not None and "vary" in fields:
        choices = _check_vary(fields["vary"], base, reporter)
    reporter.raise_problems()
    assert base is not None, "a base that is missing was reported"
    assert base_root is not None, "what is resolved was read"
    document = base_root.plain()
    assert isinstance(document, dict), "a document that was resolved is a map"
    assert train is not None, "a train document that is missing was reported"
    sizes = fields["vary"].model_extra or {}
    return SearchSpec(
        document=SearchDocument(**fields),
        base=base,
        base_document=document,
        train=train,
        plan=None,
        hardware=None,
        variants=(Variant(base=base, choices=choices),),
        pool_sizes={pool_of(key): tuple(values) for key, values in sizes.items()},
        metric=fields["objective"].metric,
        direction=fields["objective"].direction,
        seeds=fields["objective"].seeds,
        **{name: fields[name] for name in ("budgets", "trials", "finalists", "sampler", "seed")},
    )


def _check_objective(
    objective: Objective, train: TrainSpec, base: ModelSpec | None, reporter: Reporter
) -> None:
    if objective.metric not in train.metrics:
        message = f"unknown metric {objective.metric!r}; {suggest(objective.metric, train.metrics)}"
        reporter.report(("objective", "metric"), message)
    if base is not None and train.seq_len > base.max_seq_len:
        reporter.report(
            ("objective", "train"),
            f"seq_len <= max_seq_len must hold, but {objective.train} has seq_len={train.seq_len} "
            f"and the base has max_seq_len={base.max_seq_len}; shorten one or raise the other",
        )


def _check_budgets(budgets: Budgets, reporter: Reporter) -> None:
    for name, budget in budgets.given().items():
        if budget.max is None and budget.min is None:
            reporter.report(("budgets", name), "gives no bound; add max or min")


def _check_vary(
    vary: Vary, base: ModelSpec, reporter: Reporter
) -> tuple[tuple[LayerSpec, ...], ...]:
    """Report what is wrong with ``vary``; return the layers that may stand at each position."""
    before = len(reporter.problems)
    sizes = vary.model_extra or {}
    if vary.layers is None and not sizes:
        reporter.report(("vary",), "nothing varies; give `layers` or `pools.NAME.num_keys`")
    if vary.layers is not None:
        for path, message in check_layers(vary.layers, base):
            reporter.report(("vary", "layers", *path), message)
    for key, values in sizes.items():
        fault = check_pool_size(key, values, base)
        if fault is not None:
            reporter.report(("vary", key), fault)
    if len(reporter.problems) > before:
        return ()
    choices = _layers(vary.layers, base)
    read = {b.pool_name for position in choices for layer in position for b in layer.blocks}
    for key in sizes:
        if pool_of(key) not in read:
            message = "no choice of any layer reads this pool; add one that does or remove the key"
            reporter.report(("vary", key), message)
    return choices


def _layers(vary: LayerChoices | None, base: ModelSpec) -> tuple[tuple[LayerSpec, ...], ...]:
    if vary is None:
        return tuple((layer,) for layer in base.layers)
    return tuple(
        tuple(
            _layer(choice, layer, base)
            for choice in ([vary.fixed[index]] if index in vary.fixed else vary.choices)
        )
        for index, layer in enumerate(base.layers)
    )


def _layer(choice: Choice, layer: LayerSpec, base: ModelSpec) -> LayerSpec:
    """Return ``layer`` with the blocks of a choice in place of its own."""
    names = (choice,) if isinstance(choice, str) else tuple(choice)
    blocks = tuple(base.templates[name] for name in names)
    return dataclasses.replace(layer, blocks=blocks, names=names)
