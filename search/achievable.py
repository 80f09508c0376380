"""Refuse budgets that no design can meet, and say which one binds and what would be possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archspec.errors import BudgetError
from archspec.search.budget import Bound, exact_amount
from archspec.search.drawing import Drawing
from archspec.search.feasible import FeasibleSpace
from archspec.search.program import Program
from archspec.search.rule_conflict import describe_conflict
from archspec.search.space import Design


def check_achievable(allowed: FeasibleSpace) -> None:
    """Return if some design keeps to every rule and bound.

    Raises:
        BudgetError: Naming the rules between layers that exclude each other; otherwise each bound
            that is out of reach with the closest value any design has, or, when each is possible
            alone, the smallest set of bounds that exclude each other.
    """
    if some_design(allowed.program) is not None:
        return
    conflict = describe_conflict(allowed.space, allowed.table)
    if conflict is not None:
        raise BudgetError(conflict)
    closest = [(bound, closest_design(allowed, bound)) for bound in allowed.bounds]
    alone = [
        _sentence(allowed, bound, design)
        for bound, design in closest
        if design is not None and not _keeps(allowed, bound, design)
    ]
    raise BudgetError("\n".join(alone) if alone else _conflict(allowed))


def some_design(program: Program) -> Design | None:
    """Return any design that keeps to the bounds of a program, None if there is none."""
    return program.best(program.scores(np.zeros((program.num_genes, program.width))))


def closest_design(
    allowed: FeasibleSpace, bound: Bound, others: Sequence[Bound] = ()
) -> Design | None:
    """Return the design with the least (for a ``min``: the largest) value of a bound's quantity.

    Args:
        allowed: The space.
        bound: Whose quantity to drive; its own limit is not imposed.
        others: The bounds that are.
    """
    program = Program(allowed.space, allowed.table, others, wanted=[bound.quantity])
    objective = program.quantity(bound.quantity)
    return program.best(objective if bound.side == "max" else -objective)


def _keeps(allowed: FeasibleSpace, bound: Bound, design: Design) -> bool:
    prices = allowed.table.prices(*allowed.space.arrays([design]))
    return bool(bound.holds(prices)[0])


def _sentence(allowed: FeasibleSpace, bound: Bound, design: Design) -> str:
    value = allowed.prices(design)[bound.quantity]
    least = bound.side == "max"
    extreme, way = ("least", "raise it to at least") if least else ("most", "lower it to at most")
    return (
        f"budgets.{bound.quantity}.{bound.side}: no design has {bound}; the {extreme} any design "
        f"reaches is {exact_amount(bound.quantity, value)}, by "
        f"{Drawing(allowed.space).words(design)}; {way} that or change the choices"
    )


def _conflict(allowed: FeasibleSpace) -> str:
    """Say which bounds exclude each other: drop every one that is not needed for that."""
    core = list(allowed.bounds)
    for bound in allowed.bounds:
        rest = [other for other in core if other is not bound]
        if closest_design(allowed, bound, rest) is None:
            core = rest
    *others, last = core
    design = closest_design(allowed, last, others)
    assert design is not None, "without its last bound a smallest conflict has a design"
    value = allowed.prices(design)[last.quantity]
    extreme = "least" if last.side == "max" else "most"
    return (
        f"budgets: each is possible alone, but no design has {' and '.join(map(str, core))}; "
        f"under {' and '.join(map(str, others))} the {extreme} {last.quantity} is "
        f"{exact_amount(last.quantity, value)}, by {Drawing(allowed.space).words(design)}; "
        "loosen one of them"
    )
