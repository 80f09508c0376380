"""One variant of a search's base: all that varies outside layers and pools is set."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec

Setting = int | float | str | bool


@dataclass(frozen=True, slots=True)
class CountRule:
    """How many layers may contain something.

    Attributes:
        name: What is counted, as ``contains`` reads it.
        least: At least so many layers.
        most: At most so many, None for any number.
    """

    name: str
    least: int = 0
    most: int | None = None

    def holds(self, count: int) -> bool:
        """Tell whether so many layers are allowed."""
        return self.least <= count and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least} layers of {self.name}"
        if not self.least:
            return f"at most {self.most} layers of {self.name}"
        return f"{self.least} to {self.most} layers of {self.name}"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A base model and plan, the layers that may stand in it, and the rules between layers.

    Attributes:
        settings: The keys that tell this variant from others, in the order of the document.
        base: The base document resolved with those values.
        plan: Likewise; None for a search without a plan.
        choices: For every layer, what may stand there.
        tied: Groups of layers that share one choice; those of a group have equally many choices,
            in the same order.
        counts: How many layers may contain a block.
        forbidden: Pairs of names; no layer that contains the first is followed by one that contains
            the second.
    """

    base: ModelSpec
    choices: tuple[tuple[LayerSpec, ...], ...]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    plan: PlanSpec | None = None
    tied: tuple[tuple[int, ...], ...] = ()
    counts: tuple[CountRule, ...] = ()
    forbidden: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def genes(self) -> tuple[tuple[int, ...], ...]:
        """The layers that share each free choice, groups in the order of their first layers."""
        groups = {index: tuple(sorted(group)) for group in self.tied for index in group}
        alone = ((index,) for index in range(len(self.choices)) if index not in groups)
        return tuple(sorted({*groups.values(), *alone}))

    def describe(self) -> str:
        """Write the settings in few words, ``d_model=256, plan.mesh.tp=2``."""
        return ", ".join(f"{key}={value}" for key, value in self.settings.items())


ATTENTION = "attention."


def contains(layer: LayerSpec, name: str) -> bool:
    """Tell whether a layer contains what a rule names.

    Args:
        layer: A layer of a search's choices.
        name: A block template whatever its sizes, one of given sizes (``ffn[hidden_dim=128]``), or
            ``attention.NAME``.
    """
    if name.startswith(ATTENTION):
        return layer.attention_name == name.removeprefix(ATTENTION)
    return any(name in (own, own.partition("[")[0]) for own in layer.names)
