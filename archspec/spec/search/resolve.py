"""A search document to a SearchSpec: every name checked, every variant resolved.

What may vary becomes whole layers, so that whoever executes a search never looks up a name again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from archspec.errors import Problem, SpecError
from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.resolve import resolve_model
from archspec.spec.search.axes import (
    Combination,
    combinations,
    pool_of,
    read_axes,
    settings_of,
    with_values,
)
from archspec.spec.search.budgets import Budgets
from archspec.spec.search.check import check_layers, check_pool_size
from archspec.spec.search.check_judging import check_judging
from archspec.spec.search.choices import layer_choices
from archspec.spec.search.document import SearchDocument
from archspec.spec.search.rules import Choices, count_rules, forbidden_pairs, tied_groups
from archspec.spec.search.settle import settle
from archspec.spec.search.spec import SearchSpec
from archspec.spec.search.variant import Variant
from archspec.spec.search.vary import Vary
from archspec.spec.train import TrainSpec
from archspec.spec.tree import Node
from archspec.spec.validate import Reporter

_AS_WRITTEN = (
    "world_size",
    "budgets",
    "trials",
    "finalists",
    "hand_finalists",
    "sampler",
    "seed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents that a search names; None for one that is missing or wrong, or not named.

    Attributes:
        base: The base model.
        base_root: Its composed document.
        plan: The plan.
        plan_root: Its composed document.
        hardware: The device, that of the plan if the search names none.
        resolve_plan: Resolves a composed plan document.
    """

    base: ModelSpec | None
    base_root: Node | None
    train: TrainSpec | None
    plan: PlanSpec | None
    plan_root: Node | None
    hardware: HardwareSpec | None
    resolve_plan: Callable[[Node], PlanSpec]


def resolve_search(
    fields: Mapping[str, Any], documents: Documents, reporter: Reporter
) -> SearchSpec:
    """Join a document's valid fields with the documents it names.

    Args:
        fields: The fields of a ``SearchDocument`` that are valid.
        documents: What it names; what is missing or wrong of them was reported.
        reporter: Takes what is wrong.

    Raises:
        SpecError: With every problem reported so far.
    """
    base, train = documents.base, documents.train
    for path, message in check_judging(fields, train, base):
        reporter.report(path, message)
    if "budgets" in fields:
        _check_budgets(fields["budgets"], documents, reporter)
    variants: tuple[Variant, ...] = ()
    if base is not None and "vary" in fields:
        variants = _variants(fields["vary"], documents, reporter)
    reporter.raise_problems()
    assert base is not None, "a base that is missing was reported"
    assert documents.base_root is not None, "what is resolved was read"
    assert train is not None, "a train document that is missing was reported"
    document = documents.base_root.plain()
    assert isinstance(document, dict), "a document that was resolved is a map"
    given = fields["vary"].model_extra or {}
    spec = SearchSpec(
        document=SearchDocument(**fields),
        base=base,
        base_document=document,
        train=train,
        plan=documents.plan,
        hardware=documents.hardware,
        variants=variants,
        pool_sizes={name: tuple(given[key]) for key in given if (name := pool_of(key))},
        metric=fields["objective"].metric,
        direction=fields["objective"].direction,
        seeds=fields["objective"].seeds,
        **{name: fields[name] for name in _AS_WRITTEN},
    )
    return settle(spec, reporter)


def _check_budgets(budgets: Budgets, documents: Documents, reporter: Reporter) -> None:
    for name, budget in budgets.given().items():
        if not budget.sides:
            reporter.report(("budgets", name), "gives no bound; add max or min")
        least, most = budget.sides.get("min"), budget.sides.get("max")
        if least and most and least.relative == most.relative and least.value > most.value:
            reporter.report(
                ("budgets", name),
                f"min <= max must hold, but min={least.text} and max={most.text}; exchange them",
            )
        if name in ("step_time", "decode_time") and documents.hardware is None:
            reporter.report(
                ("budgets", name),
                "a time is that of a device, but none is named; add `hardware: NAME` to the search "
                "or to its plan",
            )


def _variants(vary: Vary, documents: Documents, reporter: Reporter) -> tuple[Variant, ...]:
    """Return a variant for each combination of what varies outside layers and pools."""
    given = vary.model_extra or {}
    if vary.layers is None and not given:
        reporter.report(("vary",), "nothing varies; give `layers`, a pool's sizes or other keys")
    assert documents.base_root is not None, "what is resolved was read"
    before = len(reporter.problems)
    axes = read_axes(given, documents.base_root, documents.plan_root, reporter)
    if len(reporter.problems) > before:
        axes = []  # what else is wrong is said of the base
    found, said = [], {(problem.path, problem.message) for problem in reporter.problems}
    for combination in combinations(axes):
        judge = Reporter(reporter.root)
        variant = _variant(combination, vary, documents, judge)
        for problem in judge.problems:
            if (problem.path, problem.message) not in said:  # once, for the first combination
                said.add((problem.path, problem.message))
                reporter.problems.append(_of_combination(problem, combination))
        if variant is not None:
            found.append(variant)
    return tuple(found)


def _of_combination(problem: Problem, combination: Combination) -> Problem:
    if not combination:
        return problem
    values = ", ".join(f"{key}={value}" for key, value in settings_of(combination).items())
    return Problem(problem.place, problem.path, f"{problem.message} (with {values})")


def _variant(
    combination: Combination, vary: Vary, documents: Documents, reporter: Reporter
) -> Variant | None:
    """Return one variant, None after reporting what is wrong with it."""
    base, plan = documents.base, documents.plan
    try:
        if any(not axis.in_plan for axis, _ in combination):
            assert documents.base_root is not None, "what is resolved was read"
            base = resolve_model(with_values(documents.base_root, combination, in_plan=False))
        if any(axis.in_plan for axis, _ in combination):
            assert documents.plan_root is not None, "only a plan that is named varies"
            root = with_values(documents.plan_root, combination, in_plan=True)
            plan = documents.resolve_plan(root)
    except SpecError as error:
        reporter.problems.extend(error.problems)
        return None
    assert base is not None, "a base that is missing was reported"
    layers = vary.layers
    if layers is not None:
        for path, message in check_layers(layers, base):
            reporter.report(("vary", "layers", *path), message)
    _check_pool_sizes(vary, base, reporter)
    if reporter.problems:
        return None
    own = tuple((layer,) for layer in base.layers)
    choices: Choices = own if layers is None else layer_choices(layers, base, reporter)
    if reporter.problems:
        return None
    _check_readers(vary, choices, reporter)
    settings = settings_of(combination)
    if layers is None:
        return Variant(base=base, choices=choices, settings=settings, plan=plan)
    return Variant(
        base=base,
        choices=choices,
        settings=settings,
        plan=plan,
        tied=tied_groups(layers, len(choices), reporter),
        counts=count_rules(layers, choices, reporter),
        forbidden=forbidden_pairs(layers, choices, reporter),
    )


def _check_pool_sizes(vary: Vary, base: ModelSpec, reporter: Reporter) -> None:
    for key, values in (vary.model_extra or {}).items():
        if pool_of(key) is not None:
            fault = check_pool_size(key, values, base)
            if fault is not None:
                reporter.report(("vary", key), fault)


def _check_readers(vary: Vary, choices: Choices, reporter: Reporter) -> None:
    read = {block.pool_name for layers in choices for layer in layers for block in layer.blocks}
    for key in vary.model_extra or {}:
        name = pool_of(key)
        if name is not None and name not in read:
            message = "no choice of any layer reads this pool; add one that does or remove the key"
            reporter.report(("vary", key), message)
