"""Updates of the rows that look-ups touched, and what they need of the rows' gradient."""

from archspec.kernels.row_optimizer.op import (
    row_adagrad_,
    row_adam_,
    row_sgd_,
    row_square_norms,
    sum_rows,
)

__all__ = ["row_adagrad_", "row_adam_", "row_sgd_", "row_square_norms", "sum_rows"]
