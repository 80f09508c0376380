"""Designs by integer programming: the best under linear scores that keeps to every bound.

One binary variable says that a position takes an option, that is a choice together with the sizes
of the pools it reads; another, z, that a pool exists at a size. An option implies its pools, a pool
implies a reader, so a pool's rows are paid once. HiGHS works in floating point; its answer is
checked in integers, and one that breaks a bound by a rounding is cut off and the program solved
again, so no design is lost and none comes out that does not fit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds as VariableBounds
from scipy.optimize import LinearConstraint, milp

from archspec.cost.pricing import QUANTITIES, PriceTable
from archspec.search.budget import Bound, feasible
from archspec.search.space import Design, Space

Floats = npt.NDArray[np.float64]
_LARGEST = 1e6  # coefficients are scaled below this, where HiGHS' tolerances are meaningful
_LAZY_CUTS = 8  # so many known designs are cut off one by one, then all the others at once


class SolverError(RuntimeError):
    """The integer program gave neither a design nor a proof that there is none."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A choice at a position, with the size of every pool it reads as (pool, size)."""

    position: int
    choice: int
    sizes: tuple[tuple[int, int], ...]


class Program:
    """The integer program of a space under bounds, built once and solved for many objectives."""

    def __init__(self, space: Space, table: PriceTable, bounds: Sequence[Bound]) -> None:
        self._space = space
        self._table = table
        self._bounds = tuple(bounds)
        self._options = list(_options(space))
        self._index = {option: i for i, option in enumerate(self._options)}
        self._pool_start: list[int] = []
        self._num_variables = len(self._options)
        for sizes in space.pools.values():
            self._pool_start.append(self._num_variables)
            self._num_variables += len(sizes)
        self._constraints = [self._structure(), *(self._bound(bound) for bound in bounds)]

    def scores(self, layers: Floats, pools: Sequence[Floats] = ()) -> Floats:
        """Return the objective that adds one score per chosen layer and one per pool and size.

        Args:
            layers: Score of each choice at each position, [L, C].
            pools: For each pool, the score of having it at each size, [S]; none by default.
        """
        vector = np.zeros(self._num_variables)
        for index, option in enumerate(self._options):
            vector[index] = layers[option.position, option.choice]
        for start, values in zip(self._pool_start, pools, strict=False):
            vector[start : start + len(values)] = values
        return vector

    def quantity(self, name: str) -> Floats:
        """Return the objective that is a quantity, in units that lose nothing to rounding."""
        values, _ = self._reduced(self._prices(name), 0)
        return values.astype(np.float64)

    def best(
        self, objective: Floats, *, excluded: Collection[Design] = (), gap: float = 0.0
    ) -> Design | None:
        """Return the design with the least objective, None if no design is left.

        Args:
            objective: From ``scores`` or ``quantity``.
            excluded: Designs that must not come out.
            gap: Relative distance from the optimum that is good enough.

        Raises:
            SolverError: If HiGHS gives up.
        """
        cuts: list[Design] = []
        lazy = _LAZY_CUTS
        while True:
            design = self._solve(objective, cuts, gap)
            if design is None:
                return None
            known = design in excluded
            if not known and self._fits(design):
                return design
            cuts.append(design)
            lazy -= known
            if lazy == 0:
                cuts = [*(cut for cut in cuts if cut not in excluded), *excluded]

    def nearest(
        self, design: Design, rng: np.random.Generator, *, excluded: Collection[Design] = ()
    ) -> Design | None:
        """Return an allowed design that differs from ``design`` in as few layers as possible.

        Which of several equally near ones is up to ``rng``; keeping a pool's size counts half a
        layer.
        """
        shape = (len(design.layers), self._space.reads.shape[2])
        layers = rng.uniform(0.9, 1.1, size=shape)
        layers[np.arange(shape[0]), design.layers] = 0.0
        pools = []
        for size, sizes in zip(design.sizes, self._space.pools.values(), strict=True):
            pools.append(np.where(np.arange(len(sizes)) == size, 0.0, 0.5))
        return self.best(self.scores(layers, pools), excluded=excluded, gap=0.01)

    def _fits(self, design: Design) -> bool:
        prices = self._table.prices(*self._space.arrays([design]))
        return bool(feasible(self._bounds, prices)[0])

    def _solve(self, objective: Floats, cuts: Sequence[Design], gap: float) -> Design | None:
        constraints = list(self._constraints)
        if cuts:
            constraints.append(self._cut_off(cuts))
        result = milp(
            objective,
            integrality=np.ones(self._num_variables, dtype=np.int64),
            bounds=VariableBounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": gap},
        )
        if result.x is not None:
            return self._design(result.x)
        if result.status == 2:  # infeasible
            return None
        raise SolverError(f"HiGHS stopped with status {result.status}: {result.message}")

    def _design(self, values: Floats) -> Design:
        layers = [0] * len(self._space.choices)
        for option, value in zip(self._options, values, strict=False):
            if value > 0.5:
                layers[option.position] = option.choice
        sizes = [
            int(np.argmax(values[start : start + len(sizes)]))
            for start, sizes in zip(self._pool_start, self._space.pools.values(), strict=True)
        ]
        return self._space.normal(layers, sizes)

    def _chosen(self, design: Design) -> list[int]:
        """Return the options that make up a design."""
        found = []
        for position, choice in enumerate(design.layers):
            read = np.flatnonzero(self._space.reads[:, position, choice])
            sizes = tuple((int(pool), design.sizes[pool]) for pool in read)
            found.append(self._index[_Option(position, choice, sizes)])
        return found

    def _cut_off(self, designs: Sequence[Design]) -> LinearConstraint:
        rows = sparse.lil_array((len(designs), self._num_variables))
        for row, design in enumerate(designs):
            rows[row, self._chosen(design)] = 1
        return LinearConstraint(rows.tocsr(), -np.inf, len(self._space.choices) - 1)

    def _structure(self) -> LinearConstraint:
        """One option per position, one size per pool, pools exactly where they are read."""
        rows: list[tuple[dict[int, int], float, float]] = []
        for position in range(len(self._space.choices)):
            members = [i for i, option in enumerate(self._options) if option.position == position]
            rows.append((dict.fromkeys(members, 1), 1, 1))
        readers: dict[tuple[int, int], dict[int, list[int]]] = {}
        for index, option in enumerate(self._options):
            for key in option.sizes:
                readers.setdefault(key, {}).setdefault(option.position, []).append(index)
        for (pool, size), positions in readers.items():
            variable = self._pool_start[pool] + size
            rows.extend(
                ({**dict.fromkeys(members, 1), variable: -1}, -np.inf, 0)
                for members in positions.values()
            )
            everyone = [index for members in positions.values() for index in members]
            rows.append(({**dict.fromkeys(everyone, -1), variable: 1}, -np.inf, 0))
        for start, sizes in zip(self._pool_start, self._space.pools.values(), strict=True):
            rows.append((dict.fromkeys(range(start, start + len(sizes)), 1), 0, 1))
        return _constraint(rows, self._num_variables)

    def _prices(self, quantity: str) -> list[int]:
        """Return what each variable adds to a quantity, as Python integers."""
        column = QUANTITIES.index(quantity)
        pools = list(self._table.pools.values())
        prices = []
        for option in self._options:
            here = option.position, option.choice
            price = int(self._table.own[(*here, column)])
            price += sum(int(pools[p].readers[(s, *here, column)]) for p, s in option.sizes)
            prices.append(price)
        for pool in pools:
            prices.extend(int(rows[column]) for rows in pool.rows)
        return prices

    def _reduced(self, prices: list[int], limit: int) -> tuple[npt.NDArray[np.object_], float]:
        """Shrink the numbers of a bound without changing which designs keep to it.

        Every position costs at least its cheapest option, which is taken off both sides; then both
        are divided by the greatest common divisor. The limit may come out as a fraction.
        """
        shrunk = np.array(prices, dtype=object)
        for position in range(len(self._space.choices)):
            members = [i for i, option in enumerate(self._options) if option.position == position]
            least = min(prices[i] for i in members)
            shrunk[members] -= least
            limit -= least
        divisor = math.gcd(*map(int, shrunk)) or 1
        return shrunk // divisor, limit / divisor

    def _bound(self, bound: Bound) -> LinearConstraint:
        limit = bound.limit - int(self._table.fixed[bound.column])
        values, reduced = self._reduced(self._prices(bound.quantity), limit)
        reduced = math.floor(reduced) if bound.side == "max" else math.ceil(reduced)
        scale = min(1.0, _LARGEST / max(1, *map(abs, values)))
        row = sparse.csr_array(values.astype(np.float64)[None, :] * scale)
        if bound.side == "max":
            return LinearConstraint(row, -np.inf, reduced * scale)
        return LinearConstraint(row, reduced * scale, np.inf)


def _options(space: Space) -> list[_Option]:
    options = []
    sizes = [range(len(values)) for values in space.pools.values()]
    for position, layers in enumerate(space.choices):
        for choice in range(len(layers)):
            read = [int(pool) for pool in np.flatnonzero(space.reads[:, position, choice])]
            for combination in itertools.product(*(sizes[pool] for pool in read)):
                pairs = tuple(zip(read, combination, strict=True))
                options.append(_Option(position, choice, pairs))
    return options


def _constraint(
    rows: Sequence[tuple[dict[int, int], float, float]], width: int
) -> LinearConstraint:
    matrix = sparse.lil_array((len(rows), width))
    for index, (members, _, _) in enumerate(rows):
        for variable, value in members.items():
            matrix[index, variable] = value
    return LinearConstraint(matrix.tocsr(), [row[1] for row in rows], [row[2] for row in rows])
