"""Price many designs of one space at once, to the unit.

What one model costs, by ``price``, is what its summary, its plan and the roofline say. A table has
the prices of the parts that a search puts together, so that thousands of designs are priced by
sums; nothing is priced by formulas of its own, parts are what models differ by.
"""

from archspec.cost.pricing.model import price
from archspec.cost.pricing.quantities import (
    ALL_QUANTITIES,
    QUANTITIES,
    TIMES,
    Flags,
    Floats,
    Ints,
    PriceSetting,
)
from archspec.cost.pricing.table import PriceTable

__all__ = [
    "ALL_QUANTITIES",
    "QUANTITIES",
    "TIMES",
    "Flags",
    "Floats",
    "Ints",
    "PriceSetting",
    "PriceTable",
    "price",
]
