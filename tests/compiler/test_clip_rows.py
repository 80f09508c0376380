import math

import pytest
import torch
from torch import nn

from archspec.compiler.clip import clip_gradients
from archspec.kernels.row_gradient import RowGradient
from archspec.testing.kernels import assert_close


class Rig:
    """Two tables and a matrix; their gradients once in two forms and once all dense."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(0)
        self.matrix = nn.Parameter(torch.zeros(3, 3, dtype=dtype))
        self.matrix.grad = torch.randn(3, 3, dtype=dtype)
        self.idle = nn.Parameter(torch.zeros(2))
        self.carriers = [RowGradient(slots=10, width=4) for _ in range(3)]
        for carrier in self.carriers[:2]:
            for _ in range(2):
                indices = torch.randint(0, 10, (5, 3))
                carrier.append(indices, torch.rand(5, 3), torch.randn(5, 4, dtype=dtype))
        self.dense = [nn.Parameter(torch.zeros_like(self.matrix))]
        self.dense[0].grad = self.matrix.grad.clone()
        for carrier in self.carriers[:2]:
            self.dense.append(nn.Parameter(torch.zeros(10, 4, dtype=carrier.to_dense().dtype)))
            self.dense[-1].grad = carrier.to_dense()

    @property
    def collected(self) -> dict[nn.Parameter, RowGradient]:
        return {nn.Parameter(torch.zeros(10, 4)): carrier for carrier in self.carriers}

    def clip(self, max_norm: float) -> torch.Tensor:
        return clip_gradients([self.matrix, self.idle], max_norm, self.collected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("max_norm", [0.5, 1e6, math.inf])
def test_does_what_torch_does_to_dense_gradients(max_norm: float, dtype: torch.dtype) -> None:
    rig, limit = Rig(dtype), 1e-13 if dtype == torch.float64 else 1e-6
    expected = torch.nn.utils.clip_grad_norm_(rig.dense, max_norm)
    assert_close(rig.clip(max_norm), expected, limit)
    assert_close(rig.matrix.grad, rig.dense[0].grad, limit)
    for carrier, table in zip(rig.carriers[:2], rig.dense[1:], strict=True):
        assert_close(carrier.to_dense(), table.grad, limit)


def test_look_ups_are_scaled_and_not_touched() -> None:
    rig = Rig()
    before = [entry.weights.clone() for entry in rig.carriers[0].entries]
    norm = rig.clip(0.5)
    after = [entry.weights for entry in rig.carriers[0].entries]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert rig.carriers[0].scale.item() == pytest.approx(0.5 / norm.item(), rel=1e-5)
    assert rig.carriers[2].is_empty


def test_without_look_ups_it_is_the_function_of_torch() -> None:
    rig = Rig()
    expected = torch.nn.utils.clip_grad_norm_(rig.dense[:1], 0.5)
    assert torch.equal(clip_gradients([rig.matrix], 0.5), expected)
    assert torch.equal(rig.matrix.grad, rig.dense[0].grad)


def test_look_ups_alone_and_nothing_at_all() -> None:
    rig = Rig()
    expected = torch.nn.utils.clip_grad_norm_(rig.dense[1:], 0.5)
    assert_close(clip_gradients([], 0.5, rig.collected), expected, 1e-13)
    assert clip_gradients([], 0.5).item() == 0
