"""Say which rules between layers exclude each other, when no placement keeps to all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from archspec.search.features import Scores
from archspec.search.prices import SpacePrices
from archspec.search.program import Program
from archspec.search.space import Design, Space
from archspec.spec.search.variant import CountRule, Variant

_Rule = CountRule | tuple[str, str] | tuple[int, ...]


def describe_conflict(space: Space, table: SpacePrices) -> str | None:
    """Return which rules exclude each other; None if some placement keeps to all.

    Of several variants, none of which has a placement, the first is described.
    """
    if any(_placement(space, table, index) for index in range(len(space.parts))):
        return None
    variant = space.variants[0]
    core = _rules(variant)
    for rule in _rules(variant):
        rest = [other for other in core if other is not rule]
        if _placement(_with_rules(space, rest), table, 0) is None:
            core = rest
    where = f" with {variant.describe()}" if len(space.variants) > 1 else ""
    text = f"vary.layers: no placement{where} keeps to: {'; '.join(map(_words, core))}"
    counted = [rule for rule in core if isinstance(rule, CountRule)]
    if counted:
        rule = counted[0]
        others = _with_rules(space, [other for other in core if other is not rule])
        least, most = (_count(others, table, rule, sign) for sign in (1, -1))
        allowed = f"{least} to {most}" if least < most else f"{least}"
        text += f" (without the first, {allowed} layers of {rule.name} are possible)"
    return f"{text}; loosen one of them"


def _rules(variant: Variant) -> list[_Rule]:
    return [*variant.counts, *variant.forbidden, *variant.tied]


def _words(rule: _Rule) -> str:
    if isinstance(rule, CountRule):
        return str(rule)
    if isinstance(rule[0], str):
        return f"no {rule[0]} before {rule[1]}"
    return f"one choice for layers {', '.join(map(str, rule))}"


def _with_rules(space: Space, rules: Sequence[_Rule]) -> Space:
    """Return the first variant's space under other rules."""
    pairs = [rule for rule in rules if not isinstance(rule, CountRule)]
    variant = dataclasses.replace(
        space.variants[0],
        counts=tuple(rule for rule in rules if isinstance(rule, CountRule)),
        forbidden=tuple((str(a), str(b)) for a, b in (r for r in pairs if isinstance(r[0], str))),
        tied=tuple(tuple(map(int, rule)) for rule in pairs if isinstance(rule[0], int)),
    )
    return Space([variant], space.pools)


def _placement(space: Space, table: SpacePrices, index: int) -> Design | None:
    """Return any placement of one variant."""
    part = space.parts[index]
    one = Space([part.variant], space.pools)
    program = Program(one, SpacePrices(one, [table.tables[index]]), ())
    return program.best(program.scores(np.zeros((len(part.genes), part.width))))


def _count(space: Space, table: SpacePrices, rule: CountRule, sign: int) -> int:
    """Return the least (1) or most (-1) layers that a rule is about, under the space's own."""
    variant = dataclasses.replace(space.variants[0], counts=(*space.variants[0].counts, rule))
    counted = Space([variant], space.pools).parts[0].counted[-1]
    program = Program(space, SpacePrices(space, [table.tables[0]]), ())
    design = program.best(program.objective([Scores(sign * counted.astype(np.float64))]))
    assert design is not None, "without one rule of a smallest conflict there is a placement"
    return int(counted[np.arange(len(design.layers)), design.layers].sum())
