"""Placement problems with known optima: losses of several structures, and the best design exactly.

A loss is a sum of four tables: what stands where, what stands next to what, how many layers have a
block, and the size of a pool. The integer program that finds the least of them shares nothing with
the samplers' own but the prices.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from archspec.cost.pricing import Flags, Ints
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats
from archspec.search.space import Design, Rows
from archspec.testing.spaces import allowed_designs, small_model, space_over, tight_bounds

CHOICES = ("ffn", "experts", "private", "shared0", "ffn+private", "ffn+shared0")
SIZES = (8, 16, 24)


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A loss as tables. L layers, C choices, S sizes, M links.

    Attributes:
        own: What a choice does at a layer, [L, C].
        links: Pairs of layers that interact, each with what two choices do there, [C, C].
        counts: What having a choice in so many layers does, [C, L + 1].
        pools: What a pool's size does, if it is read, [S].
        reads: Whether a choice reads the pool, [L, C].
    """

    own: Floats
    links: tuple[tuple[int, int, Floats], ...]
    counts: Floats
    pools: Floats
    reads: Flags

    def of(self, rows: Rows) -> Floats:
        """Return the losses of designs of a space with one variant and one pool, [N]."""
        layers, depth = rows.layers, len(self.own)
        total: Floats = self.own[np.arange(depth), layers].sum(axis=1)
        for one, other, table in self.links:
            total += table[layers[:, one], layers[:, other]]
        for choice, table in enumerate(self.counts):
            total += table[(layers == choice).sum(axis=1)]
        read = self.reads[np.arange(depth), layers].any(axis=1)
        return np.asarray(total + self.pools[rows.sizes[:, 0]] * read)


# How much the loss of a layer varies by each structure; see ``_tables``.
STRUCTURES: Mapping[str, Mapping[str, float]] = {
    "additive": {"own": 1.0},
    "interacting": {"own": 0.7, "neighbours": 0.7, "pairs": 0.7},
    "neighbours": {"own": 0.3, "neighbours": 1.0},
    "saturating": {"own": 0.4, "saturation": 1.0},
    "bumps": {"own": 0.2, "bumps": 1.0},
}


def _tables(
    reads: Flags,
    rng: np.random.Generator,
    *,
    own: float = 0.0,
    bumps: float = 0.0,
    neighbours: float = 0.0,
    pairs: float = 0.0,
    saturation: float = 0.0,
) -> Tables:
    """Draw tables.

    Args:
        reads: Whether a choice reads the pool, [L, C].
        rng: Draws them.
        own: Each choice at each layer by itself.
        bumps: Each choice is good or bad around some depth.
        neighbours: Each choice beside each other one, alike at all depths.
        pairs: Some pairs of layers anywhere, each in its own way.
        saturation: Each further layer of a choice does less: the logarithm of how many there are.
    """
    depth, choices = reads.shape
    positions = np.arange(depth)
    centers, widths = rng.uniform(0, depth, choices), rng.uniform(0.08, 0.25, choices) * depth
    bump = np.exp(-0.5 * ((positions[:, None] - centers) / widths) ** 2)
    beside = neighbours * rng.normal(size=(choices, choices))
    links = [(i, i + 1, beside) for i in range(depth - 1)] if neighbours else []
    for _ in range(depth // 2 if pairs else 0):
        one, other = np.sort(rng.choice(depth, 2, replace=False)).tolist()
        links.append((one, other, pairs * rng.normal(size=(choices, choices))))
    helps = saturation * depth**0.5 * rng.normal(size=choices)
    return Tables(
        own=own * rng.normal(size=(depth, choices)) + 2 * bumps * rng.normal(size=choices) * bump,
        links=tuple(links),
        counts=-helps[:, None] * np.log1p(np.arange(depth + 1)),
        pools=0.5 * rng.normal(size=len(SIZES)),
        reads=reads,
    )


class Problem:
    """A space under budgets and a loss over it, in units of how it varies over designs that fit.

    Attributes:
        name: That of its structure.
        allowed: The designs.
    """

    def __init__(self, name: str, *, seed: int, depth: int = 24, share: float = 0.004) -> None:
        """Draw a problem.

        Args:
            name: One of ``STRUCTURES``.
            seed: Of the loss; the space and its budgets depend on the sizes alone.
            depth: Layers.
            share: How many of the designs fit.
        """
        self.name = name
        self.allowed = _allowed(depth, share)
        self._tables = _tables(
            self.allowed.space.reads[0], np.random.default_rng(seed), **STRUCTURES[name]
        )
        losses = self._tables.of(_sample(self.allowed))
        self._center, self._unit = float(losses.mean()), float(losses.std())

    def losses(self, rows: Rows) -> Floats:
        """Return the losses of designs, noise aside, [N]."""
        return np.asarray((self._tables.of(rows) - self._center) / self._unit)

    def __call__(self, design: Design) -> float:
        """Return the loss of a design, noise aside."""
        return float(self.losses(self.allowed.space.arrays([design]))[0])

    @functools.cached_property
    def optimum(self) -> Design:
        """The design with the least loss of all that fit."""
        return _Exact(self.allowed, self._tables).solve()


@functools.lru_cache(maxsize=8)
def _allowed(depth: int, share: float) -> FeasibleSpace:
    space = space_over(small_model(depth), CHOICES, {"pool0": SIZES})
    return allowed_designs(space, tight_bounds(space, share=share))


@functools.lru_cache(maxsize=8)
def _sample(allowed: FeasibleSpace, least: int = 300) -> Rows:
    """Draw designs that fit, uniformly."""
    rng = np.random.default_rng(0)
    found = []
    while sum(map(len, found)) < least:
        found.append(allowed.select(*allowed.space.draw(rng, 20_000)))
    return allowed.space.arrays([design for batch in found for design in batch])


class _Exact:
    """The integer program of a problem, interactions included.

    Variables: a layer takes a choice; a reader's pool has a size; the pool has a size; two linked
    layers take two choices; so many layers take a choice. Those of links follow from the layers'
    (each pair's sum to them over either side), which makes the relaxation tight.
    """

    def __init__(self, allowed: FeasibleSpace, tables: Tables) -> None:
        self._space, self._tables = allowed.space, tables
        self._depth, self._width = tables.own.shape
        (self._table,) = allowed.table.tables
        (self._pool,) = self._table.pools.values()
        self._costs: list[float] = []
        self._rows: list[tuple[dict[int, float], float, float]] = []
        self._layers = self._variables(tables.own)
        self._sizes = self._variables(tables.pools)
        self._readers = self._add_readers()
        self._add_counts()
        for link in tables.links:
            self._add_link(*link)
        for bound in allowed.bounds:
            self._add_bound(bound.column, bound.limit)

    def _variables(self, costs: Floats) -> Ints:
        """Add a variable for each cost; return their numbers, in the same shape."""
        start = len(self._costs)
        self._costs.extend(costs.ravel().tolist())
        return np.arange(start, start + costs.size, dtype=np.int64).reshape(costs.shape)

    def _equal(self, one: Ints, other: Ints) -> None:
        """Demand that two sums are equal."""
        row = dict.fromkeys(one.ravel().tolist(), 1.0) | dict.fromkeys(other.ravel().tolist(), -1.0)
        self._rows.append((row, 0, 0))

    def _add_readers(self) -> dict[tuple[int, int], Ints]:
        for layer in range(self._depth):
            self._rows.append((dict.fromkeys(self._layers[layer].tolist(), 1.0), 1, 1))
        found = {}
        for layer, choice in np.argwhere(self._pool.reads).tolist():
            found[layer, choice] = self._variables(np.zeros(len(self._sizes)))
            self._equal(found[layer, choice], self._layers[layer, choice])
        for size, variable in enumerate(self._sizes.tolist()):
            readers = [numbers[size] for numbers in found.values()]
            self._rows.extend(({one: 1.0, variable: -1.0}, -np.inf, 0) for one in readers)
            self._rows.append((dict.fromkeys(readers, -1.0) | {variable: 1.0}, -np.inf, 0))
        self._rows.append((dict.fromkeys(self._sizes.tolist(), 1.0), 0, 1))
        return found

    def _add_counts(self) -> None:
        for choice, costs in enumerate(self._tables.counts):
            numbers = self._variables(costs).tolist()
            self._rows.append((dict.fromkeys(numbers, 1.0), 1, 1))
            counted = {number: float(k) for k, number in enumerate(numbers)}
            self._rows.append((counted | dict.fromkeys(self._layers[:, choice].tolist(), -1.0), 0, 0))

    def _add_link(self, one: int, other: int, costs: Floats) -> None:
        pairs = self._variables(costs)
        for choice in range(self._width):
            self._equal(pairs[choice], self._layers[one, choice])
            self._equal(pairs[:, choice], self._layers[other, choice])

    def _add_bound(self, column: int, limit: int) -> None:
        prices = {
            int(number): float(price)
            for number, price in zip(
                self._layers.ravel(), self._table.own[:, :, column].ravel(), strict=True
            )
        }
        for (layer, choice), numbers in self._readers.items():
            added = self._pool.readers[:, layer, choice, column]
            prices |= dict(zip(numbers.tolist(), added.astype(float).tolist(), strict=True))
        rows = self._pool.rows[:, column].astype(float).tolist()
        prices |= dict(zip(self._sizes.tolist(), rows, strict=True))
        left = float(limit - self._table.fixed[column])
        scaled = {number: price / left for number, price in prices.items()}
        self._rows.append((scaled, -np.inf, 1.0))

    def solve(self) -> Design:
        """Return the design of least loss."""
        matrix = sparse.lil_array((len(self._rows), len(self._costs)))
        for index, (members, _, _) in enumerate(self._rows):
            for variable, value in members.items():
                matrix[index, variable] = value
        low, high = [row[1] for row in self._rows], [row[2] for row in self._rows]
        whole = np.zeros(len(self._costs), dtype=np.int64)
        whole[: self._sizes[-1] + 1] = 1
        if self._tables.counts.any():
            whole[:] = 1
        found = milp(
            self._costs,
            integrality=whole,
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix.tocsr(), low, high),
            options={"mip_rel_gap": 0.0},
        )
        assert found.status == 0, found.message
        layers = np.argmax(found.x[self._layers], axis=1).tolist()
        return self._space.normal(layers, [int(np.argmax(found.x[self._sizes]))])
