"""Run by ``test_triton_embedding_bag.py``, in a process where Triton interprets its kernels.

The interpreter truncates to bf16 where a GPU rounds, so that limit is twice as wide here.
"""

import numpy as np
import pytest
import torch
import triton.language as tl
from torch import Tensor

from archspec.kernels.embedding_bag import (
    embedding_bag,
    embedding_bag_backward,
    gather_dot,
    gpu,
    gpu_backward,
    reference,
    scatter_rows,
)
from archspec.kernels.row_sums import gpu as row_sums
from archspec.testing.kernels import ERROR_RATIOS, assert_close, gradients, poisoned_memory

WIDTHS = (1, 3, 96, 100, 768, 1000, 1536, 2048)
SLOTS = 7  # a program each: the interpreter takes milliseconds for one
RANDOM = torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _poison():
    with poisoned_memory():
        yield


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make four look-ups a segment and four segments a group, so that few look-ups are many."""
    monkeypatch.setattr(row_sums, "SEGMENT", tl.constexpr(4))
    monkeypatch.setattr(row_sums, "GROUP", tl.constexpr(4))


def draw(tokens: int, width: int, dtype: torch.dtype, *, picks: int = 7) -> tuple[Tensor, ...]:
    indices = torch.randint(0, SLOTS, (tokens, picks), generator=RANDOM)
    # All positive, so that the ratio measures how sums are kept and not how much they cancel.
    weights, grad = torch.rand(tokens, picks), torch.rand(tokens, width).to(dtype)
    return indices, weights, grad, torch.rand(SLOTS, width).to(dtype)


def double(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.double() if t.is_floating_point() else t for t in tensors)


def check(indices: Tensor, weights: Tensor, grad: Tensor, table: Tensor) -> None:
    ratio = 2**-7 if table.dtype == torch.bfloat16 else ERROR_RATIOS[table.dtype]
    slots = table.shape[0]
    exact_indices, exact_weights, exact_grad, exact_table = double(indices, weights, grad, table)
    bag = reference.embedding_bag(exact_indices, exact_weights, exact_table)
    dots, rows = reference.embedding_bag_backward(
        exact_indices, exact_weights, exact_grad, exact_table
    )
    assert_close(embedding_bag(indices, weights, table), bag, ratio)
    assert_close(gather_dot(indices, grad, table), dots, 1e-6)
    assert_close(scatter_rows(indices, weights, grad, slots), rows, ratio)
    both = embedding_bag_backward(indices, weights, grad, table)
    assert_close(both[0], dots, 1e-6)
    assert_close(both[1], rows, ratio)


def test_the_ops_are_the_kernels() -> None:
    assert gpu.embedding_bag_backward is gpu_backward.embedding_bag_backward
    assert type(gpu.bag_kernel).__name__ == "InterpretedFunction"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", WIDTHS)
def test_any_width_matches_the_reference(width: int, dtype: torch.dtype) -> None:
    indices, weights, grad, table = draw(2, width, dtype, picks=5)
    check(indices % 4, weights, grad, table[:4])


def test_a_row_of_several_blocks_matches_the_reference() -> None:
    indices, weights, grad, table = draw(1, 2500, torch.float32, picks=3)
    exact = reference.embedding_bag(indices, weights.double(), table.double())
    assert_close(embedding_bag(indices, weights, table), exact, 1e-6)
    dots = reference.gather_dot(indices, grad.double(), table.double())
    assert_close(gather_dot(indices, grad, table), dots, 1e-6)


@pytest.mark.parametrize(("tokens", "picks"), [(1, 1), (33, 1), (2, 8), (3, 9), (1, 64)])
def test_any_number_of_tokens_and_picks_matches_the_reference(tokens: int, picks: int) -> None:
    check(*draw(tokens, 5, torch.float32, picks=picks))


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
def test_any_dtype_of_indices_and_weights_matches_the_reference(index_dtype, weight_dtype) -> None:
    indices, weights, *rest = draw(5, 24, torch.bfloat16)
    check(indices.to(index_dtype), weights.to(weight_dtype), *rest)


LOOK_UPS = {
    "duplicates in a bag": torch.randint(0, SLOTS, (4, 1), generator=RANDOM).expand(-1, 6),
    "one row hit by all": torch.full((5, 7), 3),
    "one row hit by many": torch.where(torch.rand(9, 4, generator=RANDOM) < 0.7, 3, 5),
    "runs of exactly a segment": torch.arange(28).view(7, 4) // 4,
    "runs of a segment and one": torch.arange(35).view(7, 5) // 5,
    "runs of exactly a group": torch.arange(32).view(8, 4) // 16,
    "runs of a group and one": torch.arange(34).view(17, 2) // 17,
    "first and last row only": torch.randint(0, 2, (6, 4), generator=RANDOM) * (SLOTS - 1),
    "zipf": (torch.rand(7, 5, generator=RANDOM).pow(8) * SLOTS).long(),
}


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("look_ups", LOOK_UPS)
def test_hard_look_ups_match_the_reference(look_ups: str) -> None:
    indices = LOOK_UPS[look_ups]
    tokens = indices.shape[0]
    check(indices, torch.rand(indices.shape), torch.rand(tokens, 5), torch.rand(SLOTS, 5))


def test_a_hot_row_is_summed_in_segments() -> None:
    indices = torch.full((14, 5), 3)
    indices[0] = torch.arange(5)
    check(indices, torch.rand(14, 5), torch.rand(14, 6), torch.rand(SLOTS, 6))


@pytest.mark.usefixtures("short_segments")
def test_the_sum_of_a_row_does_not_depend_on_other_rows() -> None:
    indices, weights, grad, _ = draw(6, 5, torch.float32)
    indices[:4] = 6
    rows = scatter_rows(indices, weights, grad, SLOTS)
    others = torch.where(indices == 6, indices, 0)
    assert torch.equal(scatter_rows(others, weights, grad, SLOTS)[6], rows[6])


def test_gradients_match_the_reference() -> None:
    indices, weights, cotangent, table = draw(4, 40, torch.float32)
    args = (weights.requires_grad_(), table.requires_grad_())
    exact_args = tuple(arg.detach().double().requires_grad_() for arg in args)
    output = embedding_bag(indices, *args)
    exact = reference.embedding_bag(indices, *exact_args)
    exact_grads = gradients((exact,), exact_args, (cotangent.double(),))
    for grad, value in zip(gradients((output,), args, (cotangent,)), exact_grads, strict=True):
        assert_close(grad, value, 1e-6)


def test_nothing_is_looked_up() -> None:
    for tokens, picks in ((0, 5), (3, 0)):
        indices, weights = torch.zeros(tokens, picks, dtype=torch.int64), torch.ones(tokens, picks)
        grad, table = torch.ones(tokens, 6), torch.ones(SLOTS, 6)
        assert torch.equal(embedding_bag(indices, weights, table), torch.zeros(tokens, 6))
        assert gather_dot(indices, grad, table).shape == (tokens, picks)
        assert torch.equal(scatter_rows(indices, weights, grad, SLOTS), torch.zeros(SLOTS, 6))
        dots, rows = embedding_bag_backward(indices, weights, grad, table)
        assert dots.shape == (tokens, picks)
        assert torch.equal(rows, torch.zeros(SLOTS, 6))


def test_rows_that_are_not_looked_up_are_not_read() -> None:
    indices, weights, grad, table = draw(6, 20, torch.float32)
    indices.clamp_(min=2)
    table[:2] = torch.nan
    output = embedding_bag(indices, weights, table)
    dots, rows = embedding_bag_backward(indices, weights, grad, table)
    assert all(t.isfinite().all() for t in (output, dots, rows))


def test_arguments_need_not_be_contiguous() -> None:
    indices, weights, grad, table = draw(4, 12, torch.float32)
    spread = [t.repeat_interleave(2, 1)[:, ::2] for t in (indices, weights, grad, table)]
    check(*spread)
    expanded = torch.ones(1, 1).expand(4, 12)
    assert_close(
        scatter_rows(indices, weights, expanded, SLOTS),
        reference.scatter_rows(indices, weights.double(), expanded.double(), SLOTS),
        1e-6,
    )


def test_rows_beyond_int32_are_addressed_right() -> None:
    slots = 2**21 + 8  # of 1,024: more than 2^31 elements
    # Unlike torch's, these zeros take memory only where they are touched.
    table = torch.from_numpy(np.zeros((slots, 1024), dtype=np.float16))
    indices = torch.tensor([[0, slots - 1, 2**21]], dtype=torch.int32)
    table[indices[0]] = torch.tensor([1.0, 2.0, 4.0]).half()[:, None]
    weights, grad = torch.tensor([[1.0, 10.0, 100.0]]), torch.ones(1, 1024).half()
    assert embedding_bag(indices, weights, table).eq(421).all()
    assert torch.equal(gather_dot(indices, grad, table), torch.tensor([[1024.0, 2048, 4096]]))
