"""The integer program of one variant.

An option, that is a choice of a gene with the sizes of the pools it reads, implies its pools; a
pool implies a reader, so a pool's rows are paid once. Counts of blocks and forbidden neighbours are
linear as well, and so are the bounds (``search.forms``).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds as VariableBounds
from scipy.optimize import LinearConstraint, milp

from archspec.cost.pricing import Flags, Ints, PriceTable
from archspec.search.budget import Bound
from archspec.search.features import Floats, Scores
from archspec.search.forms import LARGEST, Form, PeakVariable, write_form
from archspec.search.stdout import STDOUT
from archspec.search.subspace import Subspace
from archspec.search.variables import Genes, Row, Variables

_MADE = 1 - 1e-6  # a variable that the relaxation makes 1
_DIVE_GAP = 1e-2


class SolverError(RuntimeError):
    """The integer program gave neither a design nor a proof that there is none."""


class VariantProgram:
    """The program of a variant under bounds, built once and solved for many objectives."""

    def __init__(
        self,
        part: Subspace,
        table: PriceTable,
        bounds: Sequence[Bound],
        wanted: Collection[str] = (),
    ) -> None:
        """Set up the program.

        Args:
            part: The designs.
            table: Their prices.
            bounds: What they must keep to.
            wanted: Quantities that are to be made least or most.
        """
        self._part = part
        self._variables = Variables(part)
        low = {bound.quantity for bound in bounds if bound.side == "min"}
        self._forms: dict[str, Form] = {
            name: write_form(name, table, self._variables, exact=name in low or name in wanted)
            for name in dict.fromkeys([*(bound.quantity for bound in bounds), *wanted])
        }
        rows = [*self._structure(), *self._counts(), *self._neighbours()]
        rows += [row for form in self._forms.values() for row in form.rows]
        self._constraints = [
            _constraint(rows, self._variables.count),
            *(self._bound(bound) for bound in bounds),
        ]

    @property
    def _peaks(self) -> Iterator[PeakVariable]:
        return (peak for form in self._forms.values() for peak in form.peaks)

    def objective(self, scores: Scores) -> Floats:
        """Return the objective that a score is, its offset aside."""
        vector = np.zeros(self._variables.count)
        for index, option in enumerate(self._variables.options):
            vector[index] = scores.layers[option.gene, option.choice]
        for sizes, values in zip(self._variables.pools, scores.pools, strict=False):
            vector[sizes] = values
        return vector

    def quantity(self, name: str) -> tuple[Floats, float, float]:
        """Return an objective, and the factor and the offset that make a wanted quantity of it."""
        form = self._forms[name]
        return form.vector(self._variables.count), form.divisor, form.offset

    def least(self, objective: Floats) -> float:
        """Return a value that the objective of no design is below."""
        genes = (min(objective[members]) for members in self._variables.members)
        pools = (objective[sizes].min(initial=0.0) for sizes in self._variables.pools)
        peaks = (
            min(objective[peak.variable] * bound for bound in (peak.least, peak.most))
            for peak in self._peaks
        )
        return float(sum(genes) + sum(pools) + sum(peaks))

    def value(self, objective: Floats, genes: Genes) -> float:
        """Return the objective of a design, its factor and offset aside."""
        return float(objective[self._variables.of(genes)].sum())

    def solve(self, objective: Floats, cuts: Collection[Genes], gap: float) -> Genes | None:
        """Return the choices with the least objective, other than ``cuts``; None if none is left.

        Raises:
            SolverError: If HiGHS gives up.
        """
        limits = [self._cut_off(cuts)] if cuts else []
        values = self._solved(objective, self._range, limits, gap=gap)
        return None if values is None else self._genes(values)

    def dive(self, objective: Floats) -> Genes | None:
        """Return choices whose objective is near the least, much faster than ``solve``.

        First only pools have to exist or not. Choices that come out whole are kept, and a small
        integer program makes the rest. None if it cannot, which says nothing about other choices.

        Raises:
            SolverError: If HiGHS gives up.
        """
        is_pool: Flags = np.zeros(self._variables.count, dtype=np.bool_)
        for sizes in self._variables.pools:
            is_pool[sizes] = True
        relaxed = self._solved(objective, self._range, whole=is_pool, gap=_DIVE_GAP)
        if relaxed is None:
            return None
        lower, upper = (ends.copy() for ends in self._range)
        for members in self._variables.members:
            if relaxed[members].max() > _MADE:
                lower[members] = upper[members] = relaxed[members].round()
        values = self._solved(objective, (lower, upper), gap=_DIVE_GAP)
        return None if values is None else self._genes(values)

    @functools.cached_property
    def _range(self) -> tuple[Floats, Floats]:
        """What every variable is at least and at most."""
        lower, upper = np.zeros(self._variables.count), np.ones(self._variables.count)
        for peak in self._peaks:
            lower[peak.variable], upper[peak.variable] = peak.least, peak.most
        return lower, upper

    @functools.cached_property
    def _integrality(self) -> Ints:
        found: Ints = np.ones(self._variables.count, dtype=np.int64)
        found[[peak.variable for peak in self._peaks]] = 0
        return found

    def _solved(
        self,
        objective: Floats,
        limits: tuple[Floats, Floats],
        further: Sequence[LinearConstraint] = (),
        *,
        whole: Flags | bool = True,
        gap: float = 0.0,
    ) -> Floats | None:
        """Return the values of the variables with the least objective, None if there are none."""
        with STDOUT.kept_clean():
            result = milp(
                objective,
                integrality=self._integrality * whole,
                bounds=VariableBounds(*limits),
                constraints=[*self._constraints, *further],
                options={"mip_rel_gap": gap},
            )
        if result.x is not None:
            return np.asarray(result.x, dtype=np.float64)
        if result.status == 2:  # infeasible
            return None
        raise SolverError(f"HiGHS stopped with status {result.status}: {result.message}")

    def _genes(self, values: Floats) -> Genes:
        layers = [0] * len(self._part.genes)
        for option, value in zip(self._variables.options, values, strict=False):
            if value > 0.5:
                layers[option.gene] = option.choice
        sizes = (int(np.argmax(values[sizes])) for sizes in self._variables.pools)
        return tuple(layers), tuple(sizes)

    def _cut_off(self, designs: Collection[Genes]) -> LinearConstraint:
        columns = np.array([self._variables.chosen(genes) for genes in designs]).ravel()
        rows = np.repeat(np.arange(len(designs)), len(self._part.genes))
        shape = (len(designs), self._variables.count)
        matrix = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
        return LinearConstraint(matrix, -np.inf, len(self._part.genes) - 1)

    def _structure(self) -> list[Row]:
        """One option per gene, one size per pool, pools exactly where they are read."""
        rows: list[Row] = [(dict.fromkeys(members, 1), 1, 1) for members in self._variables.members]
        readers: dict[tuple[int, int], dict[int, list[int]]] = {}
        for index, option in enumerate(self._variables.options):
            for key in option.sizes:
                readers.setdefault(key, {}).setdefault(option.gene, []).append(index)
        for (pool, size), genes in readers.items():
            variable = self._variables.pools[pool][size]
            rows.extend(
                ({**dict.fromkeys(members, 1), variable: -1}, -np.inf, 0)
                for members in genes.values()
            )
            everyone = [index for members in genes.values() for index in members]
            rows.append(({**dict.fromkeys(everyone, -1), variable: 1}, -np.inf, 0))
        rows.extend((dict.fromkeys(sizes, 1), 0, 1) for sizes in self._variables.pools)
        return rows

    def _counts(self) -> list[Row]:
        """So many layers contain what is counted."""
        rows: list[Row] = []
        for rule, counted in zip(self._part.variant.counts, self._part.counted, strict=True):
            members = {
                index: float(count)
                for index, option in enumerate(self._variables.options)
                if (count := int(counted[option.gene, option.choice]))
            }
            rows.append((members, rule.least, np.inf if rule.most is None else rule.most))
        return rows

    def _neighbours(self) -> list[Row]:
        """Of a layer that is first of a forbidden pair and the next that is second, at most one."""
        rows: list[Row] = []
        for first, second in zip(*self._part.sides, strict=True):
            for layer in range(len(first) - 1):
                found: Counter[int] = Counter()
                for at, side in ((layer, first[layer]), (layer + 1, second[layer + 1])):
                    found.update(
                        index
                        for index in self._variables.members[self._part.gene_of[at]]
                        if side[self._variables.options[index].choice]
                    )
                rows.append((dict(found), -np.inf, 1))
        return rows

    def _bound(self, bound: Bound) -> LinearConstraint:
        form = self._forms[bound.quantity]
        row = form.vector(self._variables.count)
        scale = min(1.0, LARGEST / max(1.0, float(np.abs(row).max())))
        matrix, limit = sparse.csr_array(row[None, :] * scale), scale * form.limit(bound)
        if bound.side == "max":
            return LinearConstraint(matrix, -np.inf, limit)
        return LinearConstraint(matrix, limit, np.inf)


def _constraint(rows: Sequence[Row], width: int) -> LinearConstraint:
    matrix = sparse.lil_array((len(rows), width))
    for index, (members, _, _) in enumerate(rows):
        for variable, value in members.items():
            matrix[index, variable] = value
    return LinearConstraint(matrix.tocsr(), [row[1] for row in rows], [row[2] for row in rows])
