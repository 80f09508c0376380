"""What is wrong with what a search document wants to vary, given its base."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from archspec.errors import Path, suggest
from archspec.spec.model import ModelSpec
from archspec.spec.search.vary import Choice, LayerChoices

_POOL_SIZE = re.compile(r"pools\.(?P<pool>[^.]+)\.num_keys")
Report = Iterator[tuple[Path, str]]


def check_layers(vary: LayerChoices, base: ModelSpec) -> Report:
    """Yield what is wrong with the layer choices over ``base``."""
    named: list[tuple[Path, Choice]] = [
        (("choices", index), choice) for index, choice in enumerate(vary.choices)
    ]
    named += [(("fixed", index), choice) for index, choice in vary.fixed.items()]
    for path, choice in named:
        for name in [choice] if isinstance(choice, str) else choice:
            if name not in base.templates:
                known = suggest(name, base.templates)
                yield path, f"unknown block {name!r} in the base model; {known}"
            elif name in base.graded_templates:
                yield (
                    path,
                    f"block {name!r} of the base has sizes that change over depth, so it is not "
                    "one choice; add a template with plain sizes to the base",
                )
    for index, choice in enumerate(vary.choices):
        if choice in vary.choices[:index]:
            yield ("choices", index), f"{choice!r} is given twice; remove one"
            continue
        for other in vary.choices[:index]:
            if _same_blocks(choice, other, base):
                yield ("choices", index), f"{choice!r} and {other!r} are equal blocks; remove one"
    for layer in vary.fixed:
        if not 0 <= layer < len(base.layers):
            yield (
                ("fixed", layer),
                f"layer {layer} is out of range: the base has num_layers={len(base.layers)}, so "
                f"indices run from 0 to {len(base.layers) - 1}",
            )


def _same_blocks(one: Choice, other: Choice, base: ModelSpec) -> bool:
    """Tell whether two choices with known names make the same layer, which is then tried twice."""
    names, others = ([c] if isinstance(c, str) else c for c in (one, other))
    blocks = [base.templates.get(name) for name in names]
    return None not in blocks and blocks == [base.templates.get(name) for name in others]


def check_pool_size(key: str, values: Any, base: ModelSpec) -> str | None:
    """Say what is wrong with one ``pools.NAME.num_keys: [...]`` entry, None if nothing is."""
    match = _POOL_SIZE.fullmatch(key)
    if match is None:
        return f"unknown key {key!r}; what may vary is `layers` and `pools.NAME.num_keys`"
    if match["pool"] not in base.template_pools:
        return f"unknown pool {match['pool']!r}; {suggest(match['pool'], base.template_pools)}"
    sizes = values if isinstance(values, list) else []
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        return "must be a list of sizes, whole numbers of at least 1"
    if len(set(sizes)) < len(sizes):
        return f"sizes must differ, but are {sizes}"
    smallest = min(sizes)
    for name, block in base.templates.items():
        if block.pool_name == match["pool"]:
            pool = base.template_pools[match["pool"]].model_copy(update={"num_keys": smallest})
            pools = {**base.template_pools, match["pool"]: pool}
            scope = base.replace(pools=pools).scope
            for fault in block.check(scope):
                return f"size {smallest} does not suit block {name!r}: {fault.message}"
    return None


def pool_of(key: str) -> str:
    """Return the pool that a checked ``pools.NAME.num_keys`` key varies."""
    match = _POOL_SIZE.fullmatch(key)
    assert match is not None, f"unchecked key {key!r}"
    return match["pool"]
