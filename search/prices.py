"""The prices of a space's designs: one table for each variant, asked with all designs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import QUANTITIES, Ints, PriceTable
from archspec.search.space import Space


class SpacePrices:
    """Prices designs of any variant.

    Attributes:
        tables: Of each variant.
    """

    def __init__(self, space: Space, tables: Sequence[PriceTable]) -> None:
        self._space = space
        self.tables = tuple(tables)

    def prices(self, layers: Ints, sizes: Ints, variants: Ints) -> Ints:
        """Price designs given as arrays, [N, Q]; the arguments are those of ``Rows``."""
        found: Ints = np.empty((len(variants), len(QUANTITIES)), dtype=np.int64)
        for part, index, here in self._space.by_variant(variants):
            placed = part.expand(layers[here, : len(part.genes)])
            found[here] = self.tables[index].prices(placed, sizes[here])
        return found
