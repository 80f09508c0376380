"""One matrix product per group of rows, as in a mixture of experts."""

import archspec.kernels.grouped_matmul.sharding  # noqa: F401 (registers the rules)
from archspec.kernels.grouped_matmul.op import grouped_matmul, grouped_outer

__all__ = ["grouped_matmul", "grouped_outer"]
