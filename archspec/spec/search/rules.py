"""Rules between layers: ties, counts and forbidden neighbours, checked against the choices."""

from __future__ import annotations

from collections.abc import Iterator

from archspec.errors import Path, suggest
from archspec.spec.expand import rule_indices
from archspec.spec.layers import Rule
from archspec.spec.model import LayerSpec
from archspec.spec.search.choices import fixed_layers
from archspec.spec.search.variant import ATTENTION, CountRule, contains
from archspec.spec.search.vary import CountRange, LayerChoices, TiedRepeat
from archspec.spec.validate import Reporter

_LAYERS: Path = ("vary", "layers")
Choices = tuple[tuple[LayerSpec, ...], ...]


def tied_groups(
    vary: LayerChoices, num_layers: int, reporter: Reporter
) -> tuple[tuple[int, ...], ...]:
    """Return the groups of layers that share a choice; what is wrong is reported."""
    fixed = fixed_layers(vary, num_layers)
    path: Path = (*_LAYERS, "tied")
    if isinstance(vary.tied, TiedRepeat):
        length = vary.tied.repeat
        if length >= num_layers:
            reporter.report(
                (*path, "repeat"),
                f"repeat must be below the number of layers, {num_layers}, but is {length}; no "
                "layer would share its choice",
            )
        groups = (range(first, num_layers, length) for first in range(min(length, num_layers)))
        free = (tuple(layer for layer in group if layer not in fixed) for group in groups)
        return tuple(group for group in free if len(group) > 1)
    found: list[tuple[int, ...]] = []
    for number, given in enumerate(vary.tied):
        here, before = (*path, number), len(reporter.problems)
        rule = Rule(at=given) if isinstance(given, list) else given
        group = tuple(rule_indices(rule, num_layers, here, reporter))
        if len(reporter.problems) == before:
            _check_group(group, found, set(fixed), here, reporter)
        found.append(group)
    return tuple(found)


def _check_group(
    group: tuple[int, ...],
    others: list[tuple[int, ...]],
    fixed: set[int],
    path: Path,
    reporter: Reporter,
) -> None:
    if len(group) == 1:
        reporter.report(path, f"a group has at least two layers, but this is layer {group[0]}")
    for layer in group:
        if layer in fixed:
            reporter.report(path, f"layer {layer} is fixed, so it shares no choice; leave it out")
        for number, other in enumerate(others):
            if layer in other:
                reporter.report(
                    path, f"layer {layer} is in tied[{number}] too; remove it from one of them"
                )


def count_rules(vary: LayerChoices, choices: Choices, reporter: Reporter) -> tuple[CountRule, ...]:
    """Return the count rules; what is wrong with them is reported."""
    found = []
    for name, given in vary.counts.items():
        path = (*_LAYERS, "counts", name)
        for fault in _name_faults(name, vary, choices):
            reporter.report(path, fault)
            break
        else:
            for key, fault in _count_faults(name, given, choices):
                reporter.report((*path, key), fault)
            found.append(CountRule(name, given.min, given.max))
    return tuple(found)


def _count_faults(name: str, given: CountRange, choices: Choices) -> Iterator[tuple[str, str]]:
    if given.max is not None and given.max < given.min:
        yield "max", f"min <= max must hold, but min={given.min} and max={given.max}"
        return
    able = sum(any(contains(layer, name) for layer in layers) for layers in choices)
    forced = sum(all(contains(layer, name) for layer in layers) for layers in choices)
    if given.min > able:
        yield (
            "min",
            f"asks for at least {given.min} layers of {name}, but only {able} of the "
            f"{len(choices)} layers allow it; lower min or fix fewer layers",
        )
    if given.max is not None and given.max < forced:
        yield (
            "max",
            f"allows at most {given.max} layers of {name}, but {forced} layers allow nothing else; "
            "raise max or add choices",
        )


def forbidden_pairs(
    vary: LayerChoices, choices: Choices, reporter: Reporter
) -> tuple[tuple[str, str], ...]:
    """Return the forbidden pairs; what is wrong with them is reported."""
    found = []
    for number, (first, second) in enumerate(vary.forbidden):
        for index, name in enumerate((first, second)):
            for fault in _name_faults(name, vary, choices):
                reporter.report((*_LAYERS, "forbidden", number, index), fault)
        if (first, second) in found:
            reporter.report((*_LAYERS, "forbidden", number), "the pair is given twice; remove one")
        found.append((first, second))
    return tuple(found)


def _name_faults(name: str, vary: LayerChoices, choices: Choices) -> Iterator[str]:
    """Yield why a rule cannot be about a name."""
    if name.startswith(ATTENTION) and vary.attention is None:
        yield f"{name!r} needs attention that varies; add `attention: [...]` beside `choices`"
        return
    if any(contains(layer, name) for layers in choices for layer in layers):
        return
    known = {own for layers in choices for layer in layers for own in layer.names}
    known |= {own.partition("[")[0] for own in known}
    known |= {f"{ATTENTION}{own}" for own in vary.attention or ()}
    yield f"no choice contains {name!r}; {suggest(name, known)}"
