"""One matrix product per group of rows, as in a mixture of experts."""

from archspec.kernels.grouped_matmul.op import grouped_matmul, grouped_outer

__all__ = ["grouped_matmul", "grouped_outer"]
