"""What is wrong with the names and indices of layer choices and pool sizes, given the base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archspec.errors import Path, suggest
from archspec.spec.model import ModelSpec
from archspec.spec.search.axes import pool_of
from archspec.spec.search.vary import BlockChoice, Choice, LayerChoices, Part

Report = Iterator[tuple[Path, str]]


def check_layers(vary: LayerChoices, base: ModelSpec) -> Report:
    """Yield what is wrong with the layer choices over ``base``."""
    named: list[tuple[Path, Choice]] = [
        (("choices", index), choice) for index, choice in enumerate(vary.choices)
    ]
    named += [(("fixed", index), choice) for index, choice in vary.fixed.items()]
    for path, choice in named:
        for part in choice if isinstance(choice, list) else [choice]:
            yield from _check_name(path, part, base)
    for index, choice in enumerate(vary.choices):
        if choice in vary.choices[:index]:
            yield ("choices", index), f"{choice!r} is given twice; remove one"
            continue
        for other in vary.choices[:index]:
            if _same_blocks(choice, other, base):
                yield ("choices", index), f"{choice!r} and {other!r} are equal blocks; remove one"
    yield from _check_fixed(vary, len(base.layers))
    yield from _check_attention(vary, base)


def _check_name(path: Path, part: Part, base: ModelSpec) -> Report:
    name = part.block if isinstance(part, BlockChoice) else part
    if name not in base.templates:
        known = suggest(name, base.templates)
        yield path, f"unknown block {name!r} in the base model; {known}"
    elif name in base.graded_templates:
        yield (
            path,
            f"block {name!r} of the base has sizes that change over depth, so it is not "
            "one choice; add a template with plain sizes to the base",
        )


def _same_blocks(one: Choice, other: Choice, base: ModelSpec) -> bool:
    """Tell whether two choices of plain names make the same layer, which is then tried twice."""
    names, others = (list(c) if isinstance(c, list) else [c] for c in (one, other))
    blocks = [base.templates.get(name) for name in names if isinstance(name, str)]
    same = [base.templates.get(name) for name in others if isinstance(name, str)]
    plain = len(blocks) == len(names) and len(same) == len(others)
    return plain and None not in blocks and blocks == same


def _check_fixed(vary: LayerChoices, num_layers: int) -> Report:
    seen: dict[int, int] = {}
    for layer in vary.fixed:
        if not -num_layers <= layer < num_layers:
            yield (
                ("fixed", layer),
                f"layer {layer} is out of range: the base has num_layers={num_layers}, so "
                f"indices run from 0 to {num_layers - 1}",
            )
        elif seen.setdefault(layer % num_layers, layer) != layer:
            other = seen[layer % num_layers]
            yield ("fixed", layer), f"{layer} and {other} are the same layer; remove one"


def _check_attention(vary: LayerChoices, base: ModelSpec) -> Report:
    for index, name in enumerate(vary.attention or ()):
        known = [given for given in base.attention_templates if given]
        if not known:
            yield (
                ("attention", index),
                f"unknown attention {name!r}; none of the base has a name: write attention: "
                f"{{{name}: {{...}}}} in the base, with one map per template",
            )
        elif name not in known:
            yield ("attention", index), f"unknown attention {name!r}; {suggest(name, known)}"
        elif name in (vary.attention or ())[:index]:
            yield ("attention", index), f"{name!r} is given twice; remove one"


def check_pool_size(key: str, values: Any, base: ModelSpec) -> str | None:
    """Say what is wrong with one ``pools.NAME.num_keys: [...]`` entry, None if nothing is."""
    name = pool_of(key)
    if name is None or name not in base.template_pools:
        return f"unknown pool {name!r}; {suggest(name, base.template_pools)}"
    sizes = values if isinstance(values, list) else []
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        return "must be a list of sizes, whole numbers of at least 1"
    if len(set(sizes)) < len(sizes):
        return f"sizes must differ, but are {sizes}"
    smallest = min(sizes)
    for block_name, block in base.templates.items():
        if block.pool_name == name:
            pool = base.template_pools[name].model_copy(update={"num_keys": smallest})
            pools = {**base.template_pools, name: pool}
            for fault in block.check(base.replace(pools=pools).scope):
                return f"size {smallest} does not suit block {block_name!r}: {fault.message}"
    return None
