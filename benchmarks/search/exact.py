"""The best design of a synthetic problem, by a program that shares only prices with our own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from archspec.cost.pricing import Flags, Ints
from archspec.cost.pricing.table import Linear
from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats
from archspec.search.space import Design
from benchmarks.search.losses import Tables


class ExactProgram:
    """The integer program of a problem, interactions included.

    Variables: a layer takes a choice; a reader's pool has a size; the pool has a size; two linked
    layers take two choices; so many layers take a choice. Those of links follow from the layers'
    (each pair's sum to them over either side), which makes the relaxation tight.
    """

    def __init__(
        self, allowed: FeasibleSpace, tables: Tables, bounds: Sequence[Bound] = ()
    ) -> None:
        self._space, self._tables = allowed.space, tables
        self._depth, self._width = tables.own.shape
        (self._table,) = allowed.table.tables
        self._costs: list[float] = []
        self._rows: list[tuple[dict[int, float], float, float]] = []
        self._layers = self._variables(tables.own)
        self._sizes = self._variables(tables.pools)
        self._readers = self._add_readers(tables.reads)
        self._add_counts()
        for link in tables.links:
            self._add_link(*link)
        for bound in (*allowed.bounds, *bounds):
            self._add_bound(bound)

    def _variables(self, costs: Floats) -> Ints:
        """Add a variable for each cost; return their numbers, in the same shape."""
        start = len(self._costs)
        self._costs.extend(costs.ravel().tolist())
        return np.arange(start, start + costs.size, dtype=np.int64).reshape(costs.shape)

    def _equal(self, one: Ints, other: Ints) -> None:
        """Demand that two sums are equal."""
        row = dict.fromkeys(one.ravel().tolist(), 1.0) | dict.fromkeys(other.ravel().tolist(), -1.0)
        self._rows.append((row, 0, 0))

    def _add_readers(self, reads: Flags) -> dict[tuple[int, int], Ints]:
        for layer in range(self._depth):
            self._rows.append((dict.fromkeys(self._layers[layer].tolist(), 1.0), 1, 1))
        found = {}
        for layer, choice in np.argwhere(reads).tolist():
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
            self._rows.append(
                (counted | dict.fromkeys(self._layers[:, choice].tolist(), -1.0), 0, 0)
            )

    def _add_link(self, one: int, other: int, costs: Floats) -> None:
        pairs = self._variables(costs)
        for choice in range(self._width):
            self._equal(pairs[choice], self._layers[one, choice])
            self._equal(pairs[:, choice], self._layers[other, choice])

    def _add_bound(self, bound: Bound) -> None:
        assert bound.side == "max", "the problems have no other bounds"
        terms = self._table.sums[bound.quantity]
        prices = dict(zip(self._sizes.tolist(), terms.rows[0].tolist(), strict=True))
        for (layer, choice), variable in np.ndenumerate(self._layers):
            readers = self._readers.get((layer, choice))
            if readers is None:
                prices[int(variable)] = self._price(terms, layer, choice, ())
                continue
            for size, reader in enumerate(readers.tolist()):
                prices[reader] = self._price(terms, layer, choice, ((0, size),))
        left = bound.row_limit - terms.fixed
        self._rows.append(({number: price / left for number, price in prices.items()}, -np.inf, 1))

    def _price(
        self, terms: Linear, layer: int, choice: int, sizes: tuple[tuple[int, int], ...]
    ) -> float:
        return float(terms.own[layer, choice, self._table.joint_of(layer, choice, sizes)])

    def solve(self) -> Design | None:
        """Return the design of least loss, None if none keeps to the bounds."""
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
        if found.status == 2:  # infeasible
            return None
        assert found.status == 0, found.message
        layers = np.argmax(found.x[self._layers], axis=1).tolist()
        return self._space.normal(layers, [int(np.argmax(found.x[self._sizes]))])
