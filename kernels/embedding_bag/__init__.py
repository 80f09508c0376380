"""Weighted sums of table rows, and the ops that are their gradients."""

import archspec.kernels.embedding_bag.sharding  # noqa: F401 (registers the rules)
from archspec.kernels.embedding_bag.op import (
    embedding_bag,
    embedding_bag_backward,
    gather_dot,
    scatter_rows,
)

__all__ = ["embedding_bag", "embedding_bag_backward", "gather_dot", "scatter_rows"]
