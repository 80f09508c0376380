"""The Triton kernels of embedding_bag and of the row ops on a GPU.

The contract of all ops, in every dtype of the kernels; tables of more than 2^31 elements; the same
bits in ten runs.
"""

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.embedding_bag import (
    embedding_bag,
    embedding_bag_backward,
    gather_dot,
    reference,
    scatter_rows,
)
from archspec.kernels.row_optimizer import reference as row_reference
from archspec.kernels.row_optimizer import row_adam_, row_sgd_, row_square_norms, sum_rows
from archspec.testing.kernels import (
    ERROR_RATIOS,
    Args,
    KernelContract,
    assert_close,
    poisoned_memory,
)

pytestmark = pytest.mark.gpu
SLOTS, PICKS, WIDTH = 11, 5, 7  # gradcheck takes them one by one
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDTHS = (1, 3, 64, 96, 100, 768, 1000, 1024, 1536, 2048, 8192)
BEYOND_INT32 = 2**31 // 1024 + 4096  # rows of 1,024: 4.3 GB in bf16


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, device="cuda").to(dtype)


def draw_indices(tokens: int, picks: int = PICKS, slots: int = SLOTS) -> Tensor:
    return torch.randint(0, slots, (tokens, picks), device="cuda")


class TestEmbeddingBag(KernelContract):
    op_name = "embedding_bag"

    def reference(self, *args):
        return reference.embedding_bag(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        weights = random(tokens, PICKS, dtype=dtype)
        return draw_indices(tokens), weights, random(SLOTS, WIDTH, dtype=dtype)


class TestGatherDot(KernelContract):
    op_name = "gather_dot"

    def reference(self, *args):
        return reference.gather_dot(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        grad = random(tokens, WIDTH, dtype=dtype)
        return draw_indices(tokens), grad, random(SLOTS, WIDTH, dtype=dtype)


class TestScatterRows(KernelContract):
    op_name = "scatter_rows"

    def reference(self, *args):
        return reference.scatter_rows(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        weights = random(tokens, PICKS, dtype=dtype)
        return draw_indices(tokens).int(), weights, random(tokens, WIDTH, dtype=dtype), SLOTS


class TestEmbeddingBagBackward(KernelContract):
    op_name = "embedding_bag_backward"

    def reference(self, *args):
        return reference.embedding_bag_backward(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        rows = random(tokens, WIDTH, dtype=dtype), random(SLOTS, WIDTH, dtype=dtype)
        return draw_indices(tokens), random(tokens, PICKS, dtype=dtype), *rows


@pytest.mark.parametrize("op_name", ["embedding_bag", "embedding_bag_backward", "row_adam_"])
def test_triton_is_what_runs(op_name: str) -> None:
    call = dispatch.Call(device="cuda", dtype=torch.bfloat16, width=1024)
    assert dispatch.explain(op_name, call).implementation.word == "triton"


def look_ups(name: str, slots: int) -> Tensor:
    match name:
        case "uniform":
            return draw_indices(2000, 16, slots)
        case "one row":
            return torch.full((20_000, 16), 17, device="cuda")
        case "hot rows":
            return (torch.rand(20_000, 16, device="cuda").pow(12) * slots).long()
        case "one pick":
            return draw_indices(3000, 1, slots)
    raise AssertionError(name)


LOOK_UPS = ("uniform", "one row", "hot rows", "one pick")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_any_width_matches_the_reference(width: int, dtype: torch.dtype) -> None:
    check(draw_indices(33, 17), width, dtype, SLOTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOOK_UPS)
def test_hard_look_ups_match_the_reference(name: str, dtype: torch.dtype) -> None:
    check(look_ups(name, 3000), 72, dtype, 3000)


def check(indices: Tensor, width: int, dtype: torch.dtype, slots: int) -> None:
    # All positive, so that the ratio measures how sums are kept and not how much they cancel.
    weights, grad = random(*indices.shape), random(indices.shape[0], width, dtype=dtype)
    table = random(slots, width, dtype=dtype)
    bag = reference.embedding_bag(indices, weights.double(), table.double())
    dots = reference.gather_dot(indices, grad.double(), table.double())
    rows = reference.scatter_rows(indices, weights.double(), grad.double(), slots)
    with poisoned_memory():
        assert_close(embedding_bag(indices, weights, table), bag, ERROR_RATIOS[dtype])
        assert_close(gather_dot(indices, grad, table), dots, 1e-6)
        alone = scatter_rows(indices, weights, grad, slots)
        both = embedding_bag_backward(indices, weights, grad, table)
    assert_close(alone, rows, ERROR_RATIOS[dtype])
    assert_close(both[0], dots, 1e-6)
    assert_close(both[1], rows, ERROR_RATIOS[dtype])


@pytest.mark.parametrize("name", LOOK_UPS)
def test_ten_runs_give_the_same_bits(name: str) -> None:
    indices = look_ups(name, 3000)
    weights, table = random(*indices.shape), random(3000, 256)
    grad = random(indices.shape[0], 256)
    runs = [
        (
            embedding_bag(indices, weights, table),
            *embedding_bag_backward(indices, weights, grad, table),
        )
        for _ in range(10)
    ]
    assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0], strict=True))


def test_rows_beyond_int32_are_addressed_right() -> None:
    table = torch.zeros(BEYOND_INT32, 1024, dtype=torch.bfloat16, device="cuda")
    rows = torch.tensor([[0, BEYOND_INT32 - 1, 2**21 - 1, 2**21]], device="cuda")
    table[rows[0]] = torch.arange(1, 5, device="cuda").bfloat16()[:, None]
    weights = torch.tensor([[1.0, 10.0, 100.0, 1000.0]], device="cuda")
    assert embedding_bag(rows, weights, table).eq(4320).all()  # 4,321 in 8 bits
    ones = torch.ones(1, 1024, dtype=torch.bfloat16, device="cuda")
    assert torch.equal(gather_dot(rows, ones, table), 1024 * table[rows[0], 0].float()[None])
    del table
    scattered = scatter_rows(rows, weights.bfloat16(), ones, BEYOND_INT32)
    assert torch.equal(scattered[rows[0], 5].float(), weights[0])
    assert int(torch.count_nonzero(scattered)) == 4 * 1024


def group(indices: Tensor, width: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    keys, order = torch.sort(indices.flatten(), stable=True)
    rows, counts = torch.unique_consecutive(keys, return_counts=True)
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    tokens = (order // indices.shape[1]).int()
    weights, grads = random(len(order)), random(indices.shape[0], width, dtype=dtype)
    return rows, starts, tokens, weights, grads


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 100, 1024, 8192])
def test_sums_of_rows_match_the_reference(width: int, dtype: torch.dtype) -> None:
    _, *args = group((torch.rand(3000, 16, device="cuda").pow(9) * 60).long(), width, dtype)
    exact = [arg.double() if arg.is_floating_point() else arg for arg in args]
    assert_close(sum_rows(*args), row_reference.sum_rows(*exact), 1e-6)
    assert_close(row_square_norms(*args), row_reference.row_square_norms(*exact), 1e-6)


@pytest.mark.parametrize("width", [1, 100, 1024, 8192])
@pytest.mark.parametrize("is_rowwise", [False, True])
def test_adam_matches_the_reference(width: int, is_rowwise: bool) -> None:
    args = group((torch.rand(3000, 16, device="cuda").pow(9) * 60).long(), width, torch.float32)
    tensors = [
        random(60, width),
        random(60, width),
        random(60) if is_rowwise else random(60, width),
    ]
    exact = [tensor.double() for tensor in tensors]
    exact_args = [arg.double() if arg.is_floating_point() else arg for arg in args]
    settings = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "step": 3, "seed": 5}
    scale = torch.tensor(0.3, device="cuda")
    row_adam_(*tensors, *args, scale, **settings)
    row_reference.row_adam_(*exact, *exact_args, scale.double(), **settings)
    for tensor, value in zip(tensors, exact, strict=True):
        assert_close(tensor, value, 1e-6)


def test_bf16_rows_are_rounded_by_the_reference_s_chance() -> None:
    args = group(draw_indices(100, 16, 3000), 100, torch.float32)
    table, scale = random(3000, 100, dtype=torch.bfloat16), torch.ones((), device="cuda")
    expected = table.clone()
    row_sgd_(table, *args, scale, lr=0.01, seed=7)
    row_reference.row_sgd_(expected, *args, scale, lr=0.01, seed=7)
    # But for sums that differ in the last place.
    assert (table != expected).float().mean() < 1e-3


def test_updates_reach_rows_beyond_int32() -> None:
    table = torch.zeros(BEYOND_INT32, 1024, dtype=torch.bfloat16, device="cuda")
    indices = torch.tensor([[3, BEYOND_INT32 - 1]], device="cuda")
    rows, starts, tokens, _, _ = group(indices, 1024, torch.float32)
    grads, weights = torch.ones(1, 1024, device="cuda"), torch.ones(2, device="cuda")
    scale = torch.ones((), device="cuda")
    row_sgd_(table, rows, starts, tokens, weights, grads, scale, lr=1.0, seed=0)
    assert table[rows].eq(-1).all()
    assert int(torch.count_nonzero(table)) == 2 * 1024
