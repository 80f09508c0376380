"""The integer program of one variant.

One binary variable says that a gene takes an option, that is a choice together with the sizes of
the pools it reads; another, z, that a pool exists at a size. An option implies its pools, a pool
implies a reader, so a pool's rows are paid once. Counts of blocks and forbidden neighbours are
linear as well, and so is the largest of several sums, with a variable of its own.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds as VariableBounds
from scipy.optimize import LinearConstraint, milp

from archspec.cost.pricing import TIMES, PriceTable
from archspec.cost.pricing.table import Linear, Peak
from archspec.search.budget import Bound
from archspec.search.features import Floats, Scores
from archspec.search.subspace import Subspace

Genes = tuple[tuple[int, ...], tuple[int, ...]]  # choices of the genes, sizes of the pools
_LARGEST = 1e6  # coefficients are scaled below this, where HiGHS' tolerances are meaningful
_SLACK = 1e-9
_Row = tuple[dict[int, float], float, float]


class SolverError(RuntimeError):
    """The integer program gave neither a design nor a proof that there is none."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A choice of a gene, with the size of every pool it reads as (pool, size)."""

    gene: int
    choice: int
    sizes: tuple[tuple[int, int], ...]

    @property
    def key(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Choice and sizes, which say what a layer of the gene costs."""
        return self.choice, self.sizes


@dataclass(frozen=True, slots=True)
class _PeakVariable:
    """The variable of a peak and the values between which it stays."""

    variable: int
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class _Form:
    """A quantity: ``offset + divisor * (values of options and pools + peaks)``.

    Attributes:
        rows: What ties the peaks' variables to the options.
    """

    values: Floats
    divisor: float
    offset: float
    peaks: list[_PeakVariable]
    rows: list[_Row]


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
        forms = {
            name: self._form(name, bounds, exact=name in wanted)
            for name in {bound.quantity for bound in bounds} | set(wanted)
        }
        self._forms = forms
        rows += [row for form in forms.values() for row in form.rows]
        self._constraints = [
            _constraint(rows, self._num_variables),
            *(self._bound(bound) for bound in bounds),
        ]

    def objective(self, scores: Scores) -> Floats:
        """Return the objective that a score is, its offset aside."""
        vector = np.zeros(self._num_variables)
        for index, option in enumerate(self._options):
            vector[index] = scores.layers[option.gene, option.choice]
        for start, values in zip(self._pool_start, scores.pools, strict=False):
            vector[start : start + len(values)] = values
        return vector

    def quantity(self, name: str) -> tuple[Floats, float, float]:
        """Return an objective, and the factor and the offset that make a wanted quantity of it."""
        form = self._forms[name]
        vector = np.zeros(self._num_variables)
        vector[: len(form.values)] = form.values
        for peak in form.peaks:
            vector[peak.variable] = 1.0
        return vector, form.divisor, form.offset

    def least(self, objective: Floats) -> float:
        """Return a value that the objective of no design is below."""
        genes = (min(objective[members]) for members in self._members)
        pools = (
            objective[start : start + len(sizes)].min(initial=0.0)
            for start, sizes in zip(self._pool_start, self._part.pools.values(), strict=True)
        )
        peaks = (
            min(objective[peak.variable] * bound for bound in (peak.least, peak.most))
            for form in self._forms.values()
            for peak in form.peaks
        )
        return float(sum(genes) + sum(pools) + sum(peaks))

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
        peaks = [peak for form in self._forms.values() for peak in form.peaks]
        integrality = np.ones(self._num_variables, dtype=np.int64)
        lower, upper = np.zeros(self._num_variables), np.ones(self._num_variables)
        for peak in peaks:
            integrality[peak.variable] = 0
            lower[peak.variable], upper[peak.variable] = peak.least, peak.most
        result = milp(
            objective,
            integrality=integrality,
            bounds=VariableBounds(lower, upper),
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
                index: float(count)
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

    def _form(self, quantity: str, bounds: Sequence[Bound], *, exact: bool) -> _Form:
        """Write a quantity as a sum over variables, one for each of its peaks among them.

        A peak is at least each of its sums, which is all that an upper bound asks. Where the
        quantity must also not be overstated, one of the sums is chosen that the peak is at most.
        """
        terms = self._table.sums[quantity]
        prices = self._values(terms)
        offset = terms.fixed
        for members in self._members:
            least = min(prices[i] for i in members)
            prices[members] -= least
            offset += least
        peaks = [peak for peak in self._table.peaks if peak.quantity == quantity]
        divisor = (
            _divisor(prices) if not peaks else max(1.0, float(np.abs(prices).max()) / _LARGEST)
        )
        form = _Form(prices / divisor, divisor, offset, [], [])
        exact = exact or any(b.quantity == quantity and b.side == "min" for b in bounds)
        for peak in peaks:
            self._add_peak(peak, form, exact=exact)
        return form

    def _add_peak(self, peak: Peak, form: _Form, *, exact: bool) -> None:
        sums = [
            ({i: value / form.divisor for i, value in members.items()}, fixed / form.divisor)
            for members, fixed in self._windows(peak)
        ]
        floor = peak.floor / form.divisor
        tops = [
            fixed + sum(max(0.0, value) for value in members.values()) for members, fixed in sums
        ]
        most = max([floor, *tops])
        variable = self._new_variable()
        form.peaks.append(_PeakVariable(variable, floor, most))
        form.rows.extend(({**members, variable: -1.0}, -np.inf, -fixed) for members, fixed in sums)
        if not exact:
            return
        chosen = [self._new_variable() for _ in (floor, *sums)]
        form.rows.append((dict.fromkeys(chosen, 1.0), 1.0, 1.0))
        form.rows.append(({variable: 1.0, chosen[0]: most - floor}, -np.inf, most))
        for switch, (members, fixed) in zip(chosen[1:], sums, strict=True):
            lowered = {i: -value for i, value in members.items()}
            slack = most - fixed + sum(max(0.0, -value) for value in members.values())
            form.rows.append(({**lowered, variable: 1.0, switch: slack}, -np.inf, fixed + slack))

    def _new_variable(self) -> int:
        self._num_variables += 1
        return self._num_variables - 1

    def _windows(self, peak: Peak) -> Iterator[tuple[dict[int, float], float]]:
        """Yield the sums whose largest a peak is: coefficients of variables, and what is fixed."""
        if peak.window == 0:
            values = self._values(peak.terms)
            yield {i: value for i, value in enumerate(values.tolist()) if value}, peak.terms.fixed
            return
        depth = len(self._part.gene_of)
        window = min(peak.window, depth)
        for start in range(depth - window + 1):
            members: dict[int, float] = {}
            for layer in range(start, start + window):
                for index in self._members[self._part.gene_of[layer]]:
                    value = self._own(peak.terms, layer, self._options[index])
                    if value:
                        members[index] = members.get(index, 0.0) + value
            yield members, 0.0

    def _own(self, terms: Linear, layer: int, option: _Option) -> float:
        return float(terms.own[layer, option.choice, self._table.joint_of(layer, *option.key)])

    def _values(self, terms: Linear) -> Floats:
        """Return what each option, and each pool at each size, adds to a sum."""
        values = [
            sum(self._own(terms, layer, option) for layer in self._part.genes[option.gene])
            for option in self._options
        ]
        for rows in terms.rows:
            values.extend(rows.tolist())
        return np.array(values, dtype=np.float64)

    def _bound(self, bound: Bound) -> LinearConstraint:
        form = self._forms[bound.quantity]
        row = np.zeros(self._num_variables)
        row[: len(form.values)] = form.values
        row[[peak.variable for peak in form.peaks]] = 1.0
        scale = min(1.0, _LARGEST / max(1.0, float(np.abs(row).max())))
        limit = scale * _row_limit(bound, form)
        matrix = sparse.csr_array(row[None, :] * scale)
        if bound.side == "max":
            return LinearConstraint(matrix, -np.inf, limit)
        return LinearConstraint(matrix, limit, np.inf)


def _row_limit(bound: Bound, form: _Form) -> float:
    """Return the limit on a form's variables.

    Whole numbers are rounded inwards; elsewhere what rounding may have cost is given back, as
    designs are checked exactly afterwards.
    """
    upper = bound.side == "max"
    if not form.peaks and bound.quantity not in TIMES:
        left, divisor = bound.row_limit - int(form.offset), int(form.divisor)
        return float(left // divisor if upper else -(-left // divisor))
    limit = (bound.row_limit + (0.5 if upper else -0.5) - form.offset) / form.divisor
    slack = _SLACK * max(1.0, abs(limit))
    return limit + slack if upper else limit - slack


def _divisor(values: Floats) -> float:
    """Return the greatest common divisor of whole numbers, 1 for others."""
    if np.any(values != np.rint(values)):
        return 1.0
    return float(math.gcd(*map(int, values)) or 1)


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
