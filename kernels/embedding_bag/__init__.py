"""Weighted sums of table rows, and the two ops adjoint to them."""

import archspec.kernels.embedding_bag.sharding  # noqa: F401 (registers the rules)
from archspec.kernels.embedding_bag.op import embedding_bag, gather_dot, scatter_rows

__all__ = ["embedding_bag", "gather_dot", "scatter_rows"]
