"""The row ops as registered ops: fakes, compilation, FLOPs, memory, widths and hot rows."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer import reference
from archspec.testing.kernels import ERROR_RATIOS, OpContract
from archspec.testing.look_ups import HARD_LOOK_UPS, MANY_SLOTS, uniform
from archspec.testing.tensors import Args, magnitudes

SLOTS = 997  # more than any sample here touches, so that a compiler takes no size for another


class RowContract(OpContract):
    reference_is_matmuls = False

    def reference(self, *args, **options):
        return getattr(reference, self.op_name)(*args, **options)

    def arguments(self, dtype: torch.dtype, grouped, slots: int, width: int) -> Args:
        raise NotImplementedError

    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots=SLOTS, width=7) -> Args:
        wide = torch.promote_types(dtype, torch.float32)
        gradient = RowGradient(slots=slots, width=width)
        grads = torch.randn(len(indices), width, dtype=dtype)
        gradient.append(indices, torch.randn(indices.shape, dtype=wide), grads)
        return self.arguments(dtype, gradient.grouped(), slots, width)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        return self.sample_of(dtype, uniform(tokens, 5, SLOTS))

    def sample_of_width(self, dtype: torch.dtype, width: int) -> Args:
        return self.sample_of(dtype, uniform(9, 5, SLOTS), width=width)

    def hard_samples(self) -> Mapping[str, Callable[[torch.dtype], Args]]:
        def drawn(draw):
            return lambda dtype: magnitudes(self.sample_of(dtype, draw(), slots=MANY_SLOTS))

        named = {name: drawn(draw) for name, draw in HARD_LOOK_UPS.items()}
        return {**super().hard_samples(), **named}


class TestSumRows(RowContract):
    op_name = "sum_rows"

    def arguments(self, dtype, grouped, slots, width):
        return tuple(grouped[1:])

    def documented_flops(self, starts, tokens, weights, grads) -> int:
        return 2 * len(tokens) * grads.shape[1]


class TestRowSquareNorms(TestSumRows):
    op_name = "row_square_norms"

    def documented_flops(self, starts, tokens, weights, grads) -> int:
        return 2 * (len(tokens) + len(starts) - 1) * grads.shape[1]


class UpdateContract(RowContract):
    """What updates a table in place; nobody counts its FLOPs."""

    # A 16-bit table is rounded stochastically, by up to 2^-7.
    error_ratios: ClassVar = {**ERROR_RATIOS, torch.bfloat16: 2**-7, torch.float16: 2**-7}

    def documented_flops(self, *args) -> int:
        return 0


class TestRowSgd(UpdateContract):
    op_name = "row_sgd_"
    options: ClassVar = {"lr": 0.1, "seed": 3}

    def arguments(self, dtype, grouped, slots, width):
        wide = torch.promote_types(dtype, torch.float32)
        return torch.randn(slots, width, dtype=dtype), *grouped, torch.tensor(0.5, dtype=wide)


class TestRowAdagrad(UpdateContract):
    op_name = "row_adagrad_"
    options: ClassVar = {"lr": 0.1, "eps": 1e-8, "seed": 3}

    def arguments(self, dtype, grouped, slots, width):
        wide = torch.promote_types(dtype, torch.float32)
        state = torch.rand(slots, dtype=wide)
        return (
            torch.randn(slots, width, dtype=dtype),
            state,
            *grouped,
            torch.tensor(0.5, dtype=wide),
        )


class TestRowAdam(UpdateContract):
    op_name = "row_adam_"
    options: ClassVar = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "step": 3, "seed": 3}

    def arguments(self, dtype, grouped, slots, width):
        wide = torch.promote_types(dtype, torch.float32)
        states = torch.randn(slots, width, dtype=wide), torch.rand(slots, width, dtype=wide)
        return (
            torch.randn(slots, width, dtype=dtype),
            *states,
            *grouped,
            torch.tensor(0.5, dtype=wide),
        )
