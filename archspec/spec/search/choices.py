"""The choices of a search document as whole layers, so that nobody looks up a name again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archspec.blocks.base import BlockConfig
from archspec.errors import Path
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search.vary import BlockChoice, Choice, LayerChoices, Part
from archspec.spec.tree import describe
from archspec.spec.validate import Reporter

_LAYERS: Path = ("vary", "layers")


@dataclass(frozen=True, slots=True)
class _Slot:
    """The blocks of one choice, with their labels."""

    names: tuple[str, ...]
    blocks: tuple[BlockConfig, ...]


def layer_choices(
    vary: LayerChoices, base: ModelSpec, reporter: Reporter
) -> tuple[tuple[LayerSpec, ...], ...]:
    """Return for every layer what may stand there; sizes that are wrong are reported.

    Args:
        vary: With names that ``check_layers`` found right.
        base: The base of a variant.
        reporter: Of the search document.
    """
    slots = [
        slot
        for index, choice in enumerate(vary.choices)
        for slot in _slots(choice, (*_LAYERS, "choices", index), base, reporter)
    ]
    _check_equal(slots, reporter)
    fixed = fixed_layers(vary, len(base.layers))
    held = {
        index: _only_slot(choice, (*_LAYERS, "fixed", key), base, reporter)
        for index, (key, choice) in fixed.items()
    }
    if reporter.problems:
        return ()
    return tuple(
        _free_layers(layer, slots, vary, base)
        if index not in held
        else tuple(_layer(layer, slot) for slot in held[index])
        for index, layer in enumerate(base.layers)
    )


def fixed_layers(vary: LayerChoices, num_layers: int) -> dict[int, tuple[int, Choice]]:
    """Return the layers that do not vary, each with its key as written and its choice."""
    return {
        key if key >= 0 else key + num_layers: (key, choice) for key, choice in vary.fixed.items()
    }


def _free_layers(
    layer: LayerSpec, slots: list[_Slot], vary: LayerChoices, base: ModelSpec
) -> tuple[LayerSpec, ...]:
    found = [_layer(layer, slot) for slot in slots]
    if vary.attention is None:
        return tuple(found)
    return tuple(
        dataclasses.replace(one, attention=base.attention_templates[name], attention_name=name)
        for one, name in itertools.product(found, vary.attention)
    )


def _layer(layer: LayerSpec, slot: _Slot) -> LayerSpec:
    """Return ``layer`` with the blocks of a choice in place of its own."""
    return dataclasses.replace(layer, blocks=slot.blocks, names=slot.names)


def _only_slot(choice: Choice, path: Path, base: ModelSpec, reporter: Reporter) -> list[_Slot]:
    slots = _slots(choice, path, base, reporter)
    if len(slots) > 1:
        labels = ", ".join("+".join(slot.names) for slot in slots)
        reporter.report(path, f"a fixed layer has one choice, but this is {labels}; give one size")
    return slots


def _slots(choice: Choice, path: Path, base: ModelSpec, reporter: Reporter) -> list[_Slot]:
    """Return one slot for every combination of the sizes of a choice."""
    if isinstance(choice, list):
        parts = [_blocks(part, (*path, index), base, reporter) for index, part in enumerate(choice)]
    else:
        parts = [_blocks(choice, path, base, reporter)]
    return [
        _Slot(tuple(name for name, _ in blocks), tuple(block for _, block in blocks))
        for blocks in itertools.product(*parts)
    ]


def _blocks(
    part: Part, path: Path, base: ModelSpec, reporter: Reporter
) -> list[tuple[str, BlockConfig]]:
    """Return the labels and blocks that a part stands for, one for each combination of sizes."""
    if not isinstance(part, BlockChoice):
        return [(part, base.templates[part])]
    values = {
        key: value if isinstance(value, list) else [value] for key, value in part.sizes.items()
    }
    for key, given in values.items():
        if not given or len(set(map(repr, given))) < len(given):
            message = f"must be a value or a list of different ones, but is {describe(given)}"
            reporter.report((*path, key), f"{message}: {given}" if given else message)
            return []
    found = []
    for combination in itertools.product(*values.values()):
        sizes = dict(zip(values, combination, strict=True))
        block = _sized(base.templates[part.block], sizes, path, base, reporter)
        if block is not None:
            found.append((_label(part.block, sizes), block))
    return found


def _label(name: str, sizes: Mapping[str, Any]) -> str:
    inside = ",".join(f"{key}={value}" for key, value in sizes.items())
    return f"{name}[{inside}]" if sizes else name


def _sized(
    template: BlockConfig, sizes: Mapping[str, Any], path: Path, base: ModelSpec, reporter: Reporter
) -> BlockConfig | None:
    """Return a template with other sizes, None after reporting why it cannot have them."""
    before = len(reporter.problems)
    if "type" in sizes:
        reporter.report((*path, "type"), "a choice keeps its template's type; name another block")
        return None
    fields = template.model_dump(exclude_unset=True)
    block = reporter.validate(type(template), {**fields, **sizes}, path)
    if block is None or len(reporter.problems) > before:
        return None
    for fault in block.check(base.replace(pools=base.template_pools).scope):
        given = ", ".join(f"{key}={value}" for key, value in sizes.items())
        reporter.report((*path, *fault.path), f"with {given}: {fault.message}")
    return block if len(reporter.problems) == before else None


def _check_equal(slots: list[_Slot], reporter: Reporter) -> None:
    """Report choices that are the same layer under two labels, which would be tried twice."""
    known: dict[tuple[BlockConfig, ...], _Slot] = {}
    for slot in slots:
        other = known.setdefault(slot.blocks, slot)
        if other is not slot:
            one, two = ("+".join(found.names) for found in (slot, other))
            reporter.report(
                (*_LAYERS, "choices"), f"{one!r} and {two!r} are equal blocks; remove one"
            )
