"""Quantities as sums over the variables of an integer program, exact for what is no plain sum too.

A peak, the largest of several sums, is a variable that is at least each of them, which is all that
an upper bound or a minimum asks. Where a quantity must not be overstated either, a further binary
variable of each sum says which of them the peak is at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import TIMES, PriceTable
from archspec.cost.pricing.table import Linear, Peak
from archspec.search.budget import Bound
from archspec.search.features import Floats
from archspec.search.variables import Option, Row, Variables

LARGEST = 1e6  # coefficients are scaled below this, where HiGHS' tolerances are meaningful
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class PeakVariable:
    """The variable of a peak and the values between which it stays."""

    variable: int
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A quantity: ``offset + divisor * (values of options and pools + peaks)``.

    Attributes:
        rows: What ties the peaks' variables to the options.
    """

    quantity: str
    values: Floats
    divisor: float
    offset: float
    peaks: tuple[PeakVariable, ...]
    rows: tuple[Row, ...]

    def vector(self, width: int) -> Floats:
        """Return the coefficients of all variables."""
        found = np.zeros(width)
        found[: len(self.values)] = self.values
        found[[peak.variable for peak in self.peaks]] = 1.0
        return found

    def limit(self, bound: Bound) -> float:
        """Return what a bound leaves to the variables.

        Whole numbers are rounded inwards; elsewhere what rounding may have cost is given back, as
        designs are checked exactly afterwards.
        """
        upper = bound.side == "max"
        if not self.peaks and self.quantity not in TIMES:
            left, divisor = bound.row_limit - int(self.offset), int(self.divisor)
            return float(left // divisor if upper else -(-left // divisor))
        limit = (bound.row_limit + (0.5 if upper else -0.5) - self.offset) / self.divisor
        slack = _SLACK * max(1.0, abs(limit))
        return limit + slack if upper else limit - slack


def write_form(quantity: str, table: PriceTable, variables: Variables, *, exact: bool) -> Form:
    """Write a quantity over variables, adding those of its peaks.

    Args:
        quantity: Which.
        table: The prices.
        variables: Of the program; gets more.
        exact: Whether peaks must not be overstated either.
    """
    return _Writer(table, variables).form(quantity, exact=exact)


class _Writer:
    def __init__(self, table: PriceTable, variables: Variables) -> None:
        self._table = table
        self._variables = variables

    def form(self, quantity: str, *, exact: bool) -> Form:
        terms = self._table.sums[quantity]
        prices, offset = self._values(terms), terms.fixed
        for members in self._variables.members:  # every gene costs at least its cheapest option
            least = min(prices[i] for i in members)
            prices[members] -= least
            offset += least
        peaks = [peak for peak in self._table.peaks if peak.quantity == quantity]
        largest = float(np.abs(prices).max())
        divisor = max(1.0, largest / LARGEST) if peaks else _common_divisor(prices)
        written = [self._peak(peak, divisor, exact=exact) for peak in peaks]
        return Form(
            quantity=quantity,
            values=prices / divisor,
            divisor=divisor,
            offset=offset,
            peaks=tuple(peak for peak, _ in written),
            rows=tuple(row for _, rows in written for row in rows),
        )

    def _peak(self, peak: Peak, divisor: float, *, exact: bool) -> tuple[PeakVariable, list[Row]]:
        sums = [
            ({i: value / divisor for i, value in members.items()}, fixed / divisor)
            for members, fixed in self._windows(peak)
        ]
        floor = peak.floor / divisor
        tops = (fixed + sum(max(0.0, value) for value in found.values()) for found, fixed in sums)
        most = max([floor, *tops])
        variable = self._variables.new()
        rows: list[Row] = [
            ({**members, variable: -1.0}, -np.inf, -fixed) for members, fixed in sums
        ]
        if exact:
            rows.extend(self._at_most_one(variable, floor, most, sums))
        return PeakVariable(variable, floor, most), rows

    def _at_most_one(
        self, variable: int, floor: float, most: float, sums: list[tuple[dict[int, float], float]]
    ) -> Iterator[Row]:
        """Yield the rows by which a peak is at most the floor, or at most one of the sums."""
        chosen = [self._variables.new() for _ in (floor, *sums)]
        yield dict.fromkeys(chosen, 1.0), 1.0, 1.0
        yield {variable: 1.0, chosen[0]: most - floor}, -np.inf, most
        for switch, (members, fixed) in zip(chosen[1:], sums, strict=True):
            lowered = {i: -value for i, value in members.items()}
            slack = most - fixed + sum(max(0.0, -value) for value in members.values())
            yield {**lowered, variable: 1.0, switch: slack}, -np.inf, fixed + slack

    def _windows(self, peak: Peak) -> Iterator[tuple[dict[int, float], float]]:
        """Yield the sums whose largest a peak is: coefficients of variables, and what is fixed."""
        if peak.window == 0:
            values = self._values(peak.terms)
            yield {i: value for i, value in enumerate(values.tolist()) if value}, peak.terms.fixed
            return
        gene_of = self._variables.part.gene_of.tolist()
        window = min(peak.window, len(gene_of))
        for start in range(len(gene_of) - window + 1):
            members: dict[int, float] = {}
            for layer in range(start, start + window):
                for index in self._variables.members[gene_of[layer]]:
                    value = self._own(peak.terms, layer, self._variables.options[index])
                    if value:
                        members[index] = members.get(index, 0.0) + value
            yield members, 0.0

    def _own(self, terms: Linear, layer: int, option: Option) -> float:
        joint = self._table.joint_of(layer, option.choice, option.sizes)
        return float(terms.own[layer, option.choice, joint])

    def _values(self, terms: Linear) -> Floats:
        """Return what each option, and each pool at each size, adds to a sum."""
        genes = self._variables.part.genes
        values = [
            sum(self._own(terms, layer, option) for layer in genes[option.gene])
            for option in self._variables.options
        ]
        for rows in terms.rows:
            values.extend(rows.tolist())
        return np.array(values, dtype=np.float64)


def _common_divisor(values: Floats) -> float:
    """Return the greatest common divisor of whole numbers, 1 for others."""
    if np.any(values != np.rint(values)):
        return 1.0
    return float(math.gcd(*map(int, values)) or 1)
