"""What varies outside layers and pool sizes: keys of the base and of the plan, as lists of values.

Every combination of values is a variant, that is the documents resolved again with them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archspec.errors import Path, format_path, suggest
from archspec.spec.search.variant import Setting
from archspec.spec.tree import Node, describe
from archspec.spec.validate import Reporter

MAX_VARIANTS = 64
_POOL_SIZE = re.compile(r"pools\.(?P<pool>[^.]+)\.num_keys")
_PLAN_KEYS = ("mesh", "precision", "recompute", "tables", "pools")
_MAY_VARY = (
    "what may vary is `layers`, `pools.NAME.num_keys`, `pools.NAME.value_dim`, `d_model`, "
    "`num_layers`, `blocks.NAME.KEY`, `attention.KEY` and `plan.KEY`"
)


@dataclass(frozen=True, slots=True)
class Axis:
    """One key that varies.

    Attributes:
        key: As the search document writes it.
        path: Where it stands in its document.
        in_plan: Whether that is the plan, and not the base.
        values: The values with where the search document gives them.
    """

    key: str
    path: Path
    in_plan: bool
    values: tuple[Node, ...]


def pool_of(key: str) -> str | None:
    """Return the pool that a key of ``vary`` gives sizes for, None for another key."""
    match = _POOL_SIZE.fullmatch(key)
    return None if match is None else match["pool"]


def read_axes(
    given: Mapping[str, Any], base: Node, plan: Node | None, reporter: Reporter
) -> list[Axis]:
    """Return the axes among the keys of ``vary``; what is wrong with them is reported.

    Args:
        given: The keys with their values, pool sizes among them.
        base: The base document.
        plan: The plan document, None if the search names none.
        reporter: Of the search document.
    """
    axes = []
    for key, values in given.items():
        if pool_of(key) is not None:
            continue
        path = _path(key)
        fault = f"unknown key {key!r}; {_MAY_VARY}" if path is None else _fault(values)
        if path is not None and fault is None:
            fault = _fault_of_place(key, path, base, plan)
        if fault is not None or path is None:
            reporter.report(("vary", key), str(fault))
            continue
        node = reporter.root.at(("vary", key))
        assert node is not None, "a key that was read is there"
        assert isinstance(node.value, list), "checked above"
        in_plan = path[0] == "plan"
        axes.append(Axis(key, path[1:] if in_plan else path, in_plan, tuple(node.value)))
    _check_number(axes, reporter)
    return axes


def _path(key: str) -> Path | None:
    """Return where a key stands, a plan's behind ``plan``; None if it may not vary."""
    steps = tuple(key.split("."))
    if key == "num_layers":
        return ("layers", "num_layers")
    if key == "d_model" or (len(steps) == 3 and steps[0] == "blocks" and steps[2] != "type"):
        return steps
    if len(steps) == 3 and (steps[0], steps[2]) == ("pools", "value_dim"):
        return steps
    in_plan = steps[0] == "plan" and len(steps) > 1 and steps[1] in _PLAN_KEYS
    return steps if in_plan or (len(steps) > 1 and steps[0] == "attention") else None


def _fault(values: Any) -> str | None:
    if not isinstance(values, list) or not values:
        return f"must be a list of values, but is {describe(values)}"
    for value in values:
        if not isinstance(value, (int, float, str)):
            return f"must be a list of plain values, but one is {describe(value)}"
    if len(set(map(repr, values))) < len(values):
        return f"values must differ, but are {values}"
    return None


def _fault_of_place(key: str, path: Path, base: Node, plan: Node | None) -> str | None:
    if path[0] == "plan":
        missing = "varies the plan, but the search names none; add `plan: PATH` to the search"
        return missing if plan is None else None
    for end in range(1, len(path)):
        here, node = format_path(path[:end]), base.at(path[:end])
        if node is None:
            above = base.at(path[: end - 1])
            known = [] if above is None else above.keys()
            return f"the base has no {here}; {suggest(path[end - 1], known)}"
        if not isinstance(node.value, dict):
            way_out = "; write {num_layers: N, default: ...}" if key == "num_layers" else ""
            return f"cannot vary, as {here} of the base is {describe(node.plain())}{way_out}"
    return None


def _check_number(axes: Sequence[Axis], reporter: Reporter) -> None:
    count = math.prod(len(axis.values) for axis in axes)
    if count > MAX_VARIANTS:
        product = " x ".join(f"{len(axis.values)} of {axis.key}" for axis in axes)
        reporter.report(
            ("vary",),
            f"{product} make {count} variants, but at most {MAX_VARIANTS} are allowed, as each is "
            "resolved and priced on its own; vary fewer keys or give fewer values",
        )


Combination = tuple[tuple[Axis, Node], ...]


def combinations(axes: Sequence[Axis]) -> Iterator[Combination]:
    """Yield every combination of values; one that is empty if nothing varies."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield tuple(zip(axes, values, strict=True))


def settings_of(combination: Combination) -> dict[str, Setting]:
    """Return the values of a combination by their keys."""
    found: dict[str, Setting] = {}
    for axis, node in combination:
        assert isinstance(node.value, (int, float, str)), "checked when it was read"
        found[axis.key] = node.value
    return found


def with_values(root: Node, combination: Combination, *, in_plan: bool) -> Node:
    """Return a document with the values of a combination that belong to it."""
    for axis, value in combination:
        if axis.in_plan == in_plan:
            root = _with_value(root, axis.path, value)
    return root


def _with_value(root: Node, path: Path, value: Node) -> Node:
    if not path:
        return value
    copy = root.copy()
    if not isinstance(copy.value, dict):
        return copy  # a plan that is wrong there itself; resolving it says so
    below = copy.child(path[0]) or Node({}, value.place)
    copy.value[path[0]] = _with_value(below, path[1:], value)
    copy.key_places[path[0]] = value.place
    return copy
