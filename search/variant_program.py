"""The integer program of one variant.

One binary variable says that a gene takes an option, that is a choice together with the sizes of
the pools it reads; another, z, that a pool exists at a size. An option implies its pools, a pool
implies a reader, so a pool's rows are paid once. Counts of blocks and forbidden neighbours are
linear as well.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds as VariableBounds
from scipy.optimize import LinearConstraint, milp

from archspec.cost.pricing import QUANTITIES, PriceTable
from archspec.search.budget import Bound
from archspec.search.features import Floats, Scores
from archspec.search.subspace import Subspace

Genes = tuple[tuple[int, ...], tuple[int, ...]]  # choices of the genes, sizes of the pools
_LARGEST = 1e6  # coefficients are scaled below this, where HiGHS' tolerances are meaningful
_Row = tuple[dict[int, int], float, float]


class SolverError(RuntimeError):
    """The integer program gave neither a design nor a proof that there is none."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A choice of a gene, with the size of every pool it reads as (pool, size)."""

    gene: int
    choice: int
    sizes: tuple[tuple[int, int], ...]


class VariantProgram:
    """The program of a variant under bounds, built once and solved for many objectives."""

    def __init__(self, part: Subspace, table: PriceTable, bounds: Sequence[Bound]) -> None:
        self._part = part
        self._table = table
        self._options = list(_options(part))
        self._members: list[list[int]] = [[] for _ in part.genes]
        for index, option in enumerate(self._options):
            self._members[option.gene].append(index)
        self._index = {option: i for i, option in enumerate(self._options)}
        self._pool_start: list[int] = []
        self._num_variables = len(self._options)
        for sizes in part.pools.values():
            self._pool_start.append(self._num_variables)
            self._num_variables += len(sizes)
        rows = [*self._structure(), *self._counts(), *self._neighbours()]
        structure = _constraint(rows, self._num_variables)
        self._constraints = [structure, *(self._bound(bound) for bound in bounds)]

    def objective(self, scores: Scores) -> Floats:
        """Return the objective that a score is, its offset aside."""
        vector = np.zeros(self._num_variables)
        for index, option in enumerate(self._options):
            vector[index] = scores.layers[option.gene, option.choice]
        for start, values in zip(self._pool_start, scores.pools, strict=False):
            vector[start : start + len(values)] = values
        return vector

    def quantity(self, name: str) -> tuple[Floats, float, float]:
        """Return an objective, and the factor and the offset that make a quantity of it."""
        fixed = int(self._table.fixed[QUANTITIES.index(name)])
        values, least, divisor = self._reduced(self._prices(name))
        return values.astype(np.float64), float(divisor), float(least + fixed)

    def least(self, objective: Floats) -> float:
        """Return a value that the objective of no design is below."""
        genes = (min(objective[members]) for members in self._members)
        pools = (
            objective[start : start + len(sizes)].min(initial=0.0)
            for start, sizes in zip(self._pool_start, self._part.pools.values(), strict=True)
        )
        return float(sum(genes) + sum(pools))

    def value(self, objective: Floats, genes: Genes) -> float:
        """Return the objective of a design, its factor and offset aside."""
        pools = {key for i in self._chosen(genes) for key in self._options[i].sizes}
        variables = [*self._chosen(genes), *(self._pool_start[pool] + size for pool, size in pools)]
        return float(objective[variables].sum())

    def solve(self, objective: Floats, cuts: Collection[Genes], gap: float) -> Genes | None:
        """Return the choices with the least objective, other than ``cuts``; None if none is left.

        Raises:
            SolverError: If HiGHS gives up.
        """
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
            return self._genes(result.x)
        if result.status == 2:  # infeasible
            return None
        raise SolverError(f"HiGHS stopped with status {result.status}: {result.message}")

    def _genes(self, values: Floats) -> Genes:
        layers = [0] * len(self._part.genes)
        for option, value in zip(self._options, values, strict=False):
            if value > 0.5:
                layers[option.gene] = option.choice
        sizes = tuple(
            int(np.argmax(values[start : start + len(sizes)]))
            for start, sizes in zip(self._pool_start, self._part.pools.values(), strict=True)
        )
        return tuple(layers), sizes

    def _chosen(self, genes: Genes) -> list[int]:
        """Return the options that make up a design."""
        found = []
        for gene, choice in enumerate(genes[0]):
            read = np.flatnonzero(self._part.reads[:, gene, choice])
            sizes = tuple((int(pool), genes[1][pool]) for pool in read)
            found.append(self._index[_Option(gene, choice, sizes)])
        return found

    def _cut_off(self, designs: Collection[Genes]) -> LinearConstraint:
        columns = np.array([self._chosen(genes) for genes in designs]).ravel()
        rows = np.repeat(np.arange(len(designs)), len(self._part.genes))
        shape = (len(designs), self._num_variables)
        matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        return LinearConstraint(matrix, -np.inf, len(self._part.genes) - 1)

    def _structure(self) -> list[_Row]:
        """One option per gene, one size per pool, pools exactly where they are read."""
        rows: list[_Row] = [(dict.fromkeys(members, 1), 1, 1) for members in self._members]
        readers: dict[tuple[int, int], dict[int, list[int]]] = {}
        for index, option in enumerate(self._options):
            for key in option.sizes:
                readers.setdefault(key, {}).setdefault(option.gene, []).append(index)
        for (pool, size), genes in readers.items():
            variable = self._pool_start[pool] + size
            rows.extend(
                ({**dict.fromkeys(members, 1), variable: -1}, -np.inf, 0)
                for members in genes.values()
            )
            everyone = [index for members in genes.values() for index in members]
            rows.append(({**dict.fromkeys(everyone, -1), variable: 1}, -np.inf, 0))
        for start, sizes in zip(self._pool_start, self._part.pools.values(), strict=True):
            rows.append((dict.fromkeys(range(start, start + len(sizes)), 1), 0, 1))
        return rows

    def _counts(self) -> list[_Row]:
        """So many layers contain what is counted."""
        rows: list[_Row] = []
        for rule, counted in zip(self._part.variant.counts, self._part.counted, strict=True):
            members = {
                index: count
                for index, option in enumerate(self._options)
                if (count := int(counted[option.gene, option.choice]))
            }
            rows.append((members, rule.least, np.inf if rule.most is None else rule.most))
        return rows

    def _neighbours(self) -> list[_Row]:
        """Of a layer that is first of a forbidden pair and the next that is second, at most one."""
        rows: list[_Row] = []
        for first, second in zip(*self._part.sides, strict=True):
            for layer in range(len(first) - 1):
                found: Counter[int] = Counter()
                for at, side in ((layer, first[layer]), (layer + 1, second[layer + 1])):
                    members = self._members[self._part.gene_of[at]]
                    found.update(i for i in members if side[self._options[i].choice])
                rows.append((dict(found), -np.inf, 1))
        return rows

    def _prices(self, quantity: str) -> list[int]:
        """Return what each variable adds to a quantity, as Python integers."""
        column = QUANTITIES.index(quantity)
        pools = list(self._table.pools.values())
        prices = []
        for option in self._options:
            price = 0
            for layer in self._part.genes[option.gene]:
                here = layer, option.choice
                price += int(self._table.own[(*here, column)])
                price += sum(int(pools[p].readers[(s, *here, column)]) for p, s in option.sizes)
            prices.append(price)
        for pool in pools:
            prices.extend(int(rows[column]) for rows in pool.rows)
        return prices

    def _reduced(self, prices: list[int]) -> tuple[npt.NDArray[np.object_], int, int]:
        """Shrink the numbers of a sum: every gene costs at least its cheapest option.

        Returns:
            The prices less that, divided by their greatest common divisor; the sum of what was
            taken off; the divisor.
        """
        shrunk = np.array(prices, dtype=object)
        taken = 0
        for members in self._members:
            least = min(prices[i] for i in members)
            shrunk[members] -= least
            taken += least
        divisor = math.gcd(*map(int, shrunk)) or 1
        return shrunk // divisor, taken, divisor

    def _bound(self, bound: Bound) -> LinearConstraint:
        values, taken, divisor = self._reduced(self._prices(bound.quantity))
        limit = bound.limit - int(self._table.fixed[bound.column]) - taken
        scale = min(1.0, _LARGEST / max(1, *map(abs, values)))
        row = sparse.csr_array(values.astype(np.float64)[None, :] * scale)
        if bound.side == "max":
            return LinearConstraint(row, -np.inf, limit // divisor * scale)
        return LinearConstraint(row, -(-limit // divisor) * scale, np.inf)


def _options(part: Subspace) -> list[_Option]:
    options = []
    sizes = [range(len(values)) for values in part.pools.values()]
    for gene, layers in enumerate(part.choices):
        for choice in range(len(layers)):
            read = [int(pool) for pool in np.flatnonzero(part.reads[:, gene, choice])]
            for combination in itertools.product(*(sizes[pool] for pool in read)):
                pairs = tuple(zip(read, combination, strict=True))
                options.append(_Option(gene, choice, pairs))
    return options


def _constraint(rows: Sequence[_Row], width: int) -> LinearConstraint:
    matrix = sparse.lil_array((len(rows), width))
    for index, (members, _, _) in enumerate(rows):
        for variable, value in members.items():
            matrix[index, variable] = value
    return LinearConstraint(matrix.tocsr(), [row[1] for row in rows], [row[2] for row in rows])
