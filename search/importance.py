"""Which choices matter: what each adds at each position, and how much each position decides.

Effects are contrasts of the additive fit: what one choice adds at a position, less the average of
the choices that stand there. A reader's effect leaves out what its pool adds, which is listed by
itself. How much a position decides is how much worse left-out designs are predicted once the
choices at that position are shuffled among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from archspec.search.additive import AdditiveModel, Estimate
from archspec.search.features import Floats
from archspec.search.space import Design, Space


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Effect(_Value):
    """What a choice adds, against the average of its alternatives, in the metric's unit.

    Attributes:
        name: The choice: a block, a size, a value of a setting.
        value: The expectation; ``low`` and ``high`` are its 95% interval.
        trained: How many of the trained designs have it.
    """

    name: str
    value: float
    low: float
    high: float
    trained: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


class Factor(_Value):
    """One thing that was chosen: a position, the size of a pool, a setting.

    Attributes:
        kind: What it is.
        name: ``3``, or ``3, 5`` for tied layers; a pool's name; a setting's key.
        layers: The layers of a position, otherwise none.
        weight: The share of the variance that it decides, from how much worse left-out designs
            are predicted once it is shuffled; about 0 or below for what does not matter.
        effects: Of its choices, in the order of the search document.
    """

    kind: str
    name: str
    layers: tuple[int, ...]
    weight: float
    effects: tuple[Effect, ...]


class Importance(_Value):
    """Which choices matter.

    Attributes:
        factors: What was chosen, positions first to last, then pools and settings.
        sums: Of each block over all positions that offer it: what it would add in all of them.
        explained: Share of the variance that is predicted for left-out designs; below 0 is none.
        noise: Standard deviation of what does not add up: luck, and interactions.
        num_designs: Designs that were fitted.
        num_clipped: Of those, how many lay so far out that their value was drawn in.
    """

    factors: tuple[Factor, ...]
    sums: tuple[Effect, ...]
    explained: float
    noise: float
    num_designs: int
    num_clipped: int

    @property
    def positions(self) -> tuple[Factor, ...]:
        """The positions that had a choice."""
        return tuple(factor for factor in self.factors if factor.kind == "position")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A factor before it is estimated: the features that its alternatives add, [C, F]."""

    kind: str
    name: str
    layers: tuple[int, ...]
    labels: tuple[str, ...]
    rows: Floats
    chosen: tuple[int, ...]  # of each design, -1 if it has none of them

    def contrasts(self) -> Floats:
        centred: Floats = self.rows - self.rows.mean(axis=0)
        return centred


def importance(
    space: Space, designs: Sequence[Design], model: AdditiveModel, *, variant: int = 0
) -> Importance:
    """Say which choices matter.

    Args:
        space: Of the designs.
        designs: Those the model was fitted to, in that order.
        model: The fit.
        variant: Whose positions are listed, where variants differ in depth.
    """
    choices = [
        *_positions(space, designs, variant),
        *_pools(space, designs),
        *_settings(space, designs),
    ]
    return Importance(
        factors=tuple(_factor(choice, model) for choice in choices),
        sums=_sums(choices, model),
        explained=model.explained,
        noise=model.noise,
        num_designs=len(designs),
        num_clipped=model.clipped,
    )


def _positions(space: Space, designs: Sequence[Design], variant: int) -> list[_Choice]:
    part = space.parts[variant]
    unread = np.zeros((1, len(space.pools)), dtype=np.bool_)
    sizes = np.zeros((1, len(space.pools)), dtype=np.int64)
    found = []
    for gene, labels in enumerate(part.labels):
        if len(labels) < 2:
            continue
        rows = []
        for choice in range(len(labels)):
            layers = np.zeros((1, len(part.genes)), dtype=np.int64)
            layers[0, gene] = choice
            rows.append(space.feature_map.of(variant, layers, sizes, unread)[0])
        alike = [space.parts[d.variant].labels == part.labels for d in designs]
        chosen = (d.layers[gene] if same else -1 for d, same in zip(designs, alike, strict=True))
        layers_of = part.genes[gene]
        name = ", ".join(map(str, layers_of))
        found.append(_Choice("position", name, layers_of, labels, np.array(rows), tuple(chosen)))
    return found


def _pools(space: Space, designs: Sequence[Design]) -> list[_Choice]:
    groups = space.feature_map.groups
    start = groups["position"] + groups["count"]
    found = []
    for pool, (name, sizes) in enumerate(space.pools.items()):
        rows = np.eye(space.feature_map.size)[start : start + len(sizes)]
        start += len(sizes)
        if len(sizes) > 1:
            labels = tuple(f"{size}²" for size in sizes)
            chosen = tuple(_size_of(space, design, pool) for design in designs)
            found.append(_Choice("pool", name, (), labels, rows, chosen))
    return found


def _size_of(space: Space, design: Design, pool: int) -> int:
    """Return the index of a pool's size, -1 if nobody reads it."""
    part = space.parts[design.variant]
    read = part.read(np.array([design.layers], dtype=np.int64))[0, pool]
    return design.sizes[pool] if read else -1


def _settings(space: Space, designs: Sequence[Design]) -> list[_Choice]:
    groups = space.feature_map.groups
    start = space.feature_map.size - groups["setting"]
    known: list[tuple[str, object]] = list(
        dict.fromkeys(item for variant in space.variants for item in variant.settings.items())
    )
    found = []
    for name, values in space.settings.items():
        if len(values) < 2:
            continue
        columns = [start + known.index((name, value)) for value in values]
        chosen = tuple(
            values.index(space.variants[design.variant].settings[name]) for design in designs
        )
        rows = np.eye(space.feature_map.size)[columns]
        found.append(_Choice("setting", name, (), tuple(map(str, values)), rows, chosen))
    return found


def _factor(choice: _Choice, model: AdditiveModel) -> Factor:
    estimates = model.contrasts(choice.contrasts())
    counts = [choice.chosen.count(index) for index in range(len(choice.labels))]
    return Factor(
        kind=choice.kind,
        name=choice.name,
        layers=choice.layers,
        weight=model.decided(choice.rows, choice.chosen),
        effects=tuple(map(_effect, choice.labels, estimates, counts)),
    )


def _sums(choices: Sequence[_Choice], model: AdditiveModel) -> tuple[Effect, ...]:
    """Add the effects of each block up over the positions; their uncertainties go together."""
    rows: dict[str, Floats] = {}
    trained: dict[str, set[int]] = {}
    for choice in choices:
        if choice.kind != "position":
            continue
        for index, (label, row) in enumerate(zip(choice.labels, choice.contrasts(), strict=True)):
            rows[label] = rows.get(label, 0.0) + row
            having = {n for n, chosen in enumerate(choice.chosen) if chosen == index}
            trained.setdefault(label, set()).update(having)
    if not rows:
        return ()
    estimates = model.contrasts(np.array(list(rows.values())))
    counts = [len(trained[label]) for label in rows]
    return tuple(map(_effect, rows, estimates, counts))


def _effect(name: str, estimate: Estimate, trained: int) -> Effect:
    return Effect(
        name=name, value=estimate.mean, low=estimate.low, high=estimate.high, trained=trained
    )
