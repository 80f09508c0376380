"""The numba kernels; what every implementation has to do is tested in test_product_key_topk.py."""

import math

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.product_key_topk import (
    cpu,
    cpu_backward,
    product_key_topk,
    product_key_topk_backward,
    reference,
    stock,
)
from archspec.testing.kernels import assert_close

INFINITY = math.inf


@pytest.fixture(autouse=True)
def _numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "numba")


def brute_force(halves: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Slots by score descending, then slot ascending, from [2, heads, tokens, num_keys]."""
    scores = (halves[0][..., :, None] + halves[1][..., None, :]).flatten(-2).transpose(0, 1)
    scores, slots = scores.sort(dim=-1, descending=True, stable=True)
    return scores[..., :top_k], slots[..., :top_k].int()


def select(halves: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    _, heads, tokens, _ = halves.shape
    scores = torch.full((tokens, heads, top_k), math.nan)
    slots = torch.full((tokens, heads, top_k), -1, dtype=torch.int32)
    cpu.select(halves.contiguous(), scores, slots)
    return scores, slots


def integers(num_keys: int, span: int) -> Tensor:
    return torch.randint(-span, span + 1, (2, 2, 4, num_keys)).float()


@pytest.mark.parametrize("num_keys", [1, 5, 63, 64, 65, 128, 200, 333])
@pytest.mark.parametrize("span", [0, 1, 30, 100_000])
def test_whole_and_broken_groups_equal_brute_force(num_keys: int, span: int) -> None:
    halves = integers(num_keys, span)
    for top_k in {1, min(num_keys, 8), min(num_keys, 32), num_keys}:
        scores, slots = select(halves, top_k)
        exact_scores, exact_slots = brute_force(halves, top_k)
        assert torch.equal(scores, exact_scores)
        assert torch.equal(slots, exact_slots)


@pytest.mark.parametrize(
    "special",
    [[1e6], [1e30], [1e30, 1e20, 1e10], [1e38, -1e38], [-INFINITY], [INFINITY], [-0.0, 0.0]],
)
def test_outliers_infinities_and_signed_zeros_go_as_in_stock_torch(special: list[float]) -> None:
    halves = integers(150, 3)
    for place, value in enumerate(special):
        halves[0, ..., 17 + place :: 31] = value
    scores, slots = select(halves, 16)
    ranks = stock._winning_ranks(16, torch.device("cpu"))
    stock_scores, stock_slots = stock._best_slots(halves, ranks, 16)
    assert torch.equal(scores, brute_force(halves, 16)[0])
    assert torch.equal(scores, stock_scores.transpose(0, 1))
    assert torch.equal(slots, stock_slots.transpose(0, 1).int())


def test_ties_at_the_edge_of_the_best_and_behind_it_go_by_slot() -> None:
    halves = torch.randn(2, 1, 1, 64)
    halves[0, ..., 5:] = halves[0, ..., :5].min()
    halves[1, ..., :60] = halves[1, ..., 60:].min() - 1
    for top_k in range(1, 65):
        scores, slots = select(halves, top_k)
        exact_scores, exact_slots = brute_force(halves, top_k)
        assert torch.equal(scores, exact_scores)
        assert torch.equal(slots, exact_slots)


def test_all_best_keys_in_one_group_are_found() -> None:
    halves = torch.rand(2, 1, 1, 640)
    groups = cpu._num_groups(640, 8)
    halves[..., 5::groups] += 10  # all of group 5
    assert torch.equal(select(halves, 8)[1], brute_force(halves, 8)[1])


def test_nan_and_ties_give_slots_in_range() -> None:
    for num_finite in range(9):
        halves = torch.full((2, 2, 5, 40), math.nan)
        halves[..., :num_finite] = torch.arange(num_finite) // 2
        _, slots = select(halves, 8)
        assert slots.min() >= 0
        assert slots.max() < 40**2


@pytest.mark.parametrize("share", [0.01, 0.5, 0.97, 1.0])
def test_nan_scores_give_slots_in_range(share: float) -> None:
    halves = torch.randn(2, 2, 5, 130)
    halves[torch.rand(halves.shape) < share] = math.nan
    _, slots = select(halves, 32)
    assert slots.min() >= 0
    assert slots.max() < 130**2


def test_a_nan_key_is_passed_over() -> None:
    halves = integers(130, 50)
    expected = halves.clone()
    halves[:, :, :, 3], expected[:, :, :, 3] = math.nan, -1e6
    assert torch.equal(select(halves, 8)[1], brute_force(expected, 8)[1])


@pytest.mark.parametrize(("num_keys", "top_k"), [(256, 32), (1024, 8), (1000, 64), (4096, 32)])
def test_real_scores_select_what_stock_torch_selects(num_keys: int, top_k: int) -> None:
    queries, codebooks = torch.randn(20, 2, 2, 16), torch.randn(2, 2, num_keys, 16)
    scores, slots = product_key_topk(queries, codebooks, top_k)
    stock_scores, stock_slots = stock.product_key_topk(queries, codebooks, top_k)
    assert torch.equal(scores, stock_scores)
    assert torch.equal(slots, stock_slots)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_LEAST_WORK", 1)
    halves, threads = torch.randn(2, 3, 50, 200), torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(select(halves, 16))
    finally:
        torch.set_num_threads(threads)
    for scores, slots in results[1:]:
        assert torch.equal(scores, results[0][0])
        assert torch.equal(slots, results[0][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part_tokens", [1, 4, 2048])
def test_the_backward_matches_the_reference_in_any_number_of_parts(
    monkeypatch: pytest.MonkeyPatch, part_tokens: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(cpu_backward, "_PART_TOKENS", part_tokens)
    queries, codebooks = torch.randn(9, 2, 2, 4, dtype=dtype), torch.randn(2, 2, 13, 4, dtype=dtype)
    slots = torch.randint(0, 13**2, (9, 2, 5), dtype=torch.int32)
    grad = torch.randn(2, 9, 5).transpose(0, 1)
    exact = reference.product_key_topk_backward(
        grad.double(), slots, queries.double(), codebooks.double()
    )
    grads = product_key_topk_backward(grad, slots, queries, codebooks)
    for value, exact_value in zip(grads, exact, strict=True):
        assert value.dtype == dtype
        assert_close(value, exact_value, 1e-6 if dtype == torch.float32 else 2**-8)


def test_the_backward_takes_slots_beyond_32_bits() -> None:
    num_keys = 70_000
    queries, codebooks = torch.randn(3, 1, 2, 2), torch.randn(2, 1, num_keys, 2)
    slots = num_keys**2 - 1 - torch.arange(6).view(3, 1, 2) * (num_keys + 1)
    arguments = (torch.randn(3, 1, 2), slots, queries, codebooks)
    grads = product_key_topk_backward(*arguments)
    exact = reference.product_key_topk_backward(*arguments)
    for value, exact_value in zip(grads, exact, strict=True):
        assert_close(value, exact_value, 1e-6)


def test_any_number_of_threads_carries_back_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_backward, "_LEAST_WORK", 1)
    monkeypatch.setattr(cpu_backward, "_PART_TOKENS", 16)
    slots, threads = torch.randint(0, 40**2, (50, 3, 8)), torch.get_num_threads()
    arguments = (torch.randn(50, 3, 8), slots, torch.randn(50, 3, 2, 20), torch.randn(2, 3, 40, 20))
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(product_key_topk_backward(*arguments))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for value, expected in zip(result, results[0], strict=True):
            assert torch.equal(value, expected)


@pytest.mark.parametrize("least", [0, 1 << 60])
def test_both_matmuls_score_alike(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    monkeypatch.setattr(cpu, "_LEAST_MACS", least)
    queries, codebooks = torch.randn(21, 3, 2, 10), torch.randn(2, 3, 45, 10)
    exact = torch.einsum("thpd,phnd->phtn", queries.double(), codebooks.double())
    assert_close(cpu._half_scores(queries, codebooks), exact, 1e-6)


def test_strided_queries_and_codebooks_are_taken() -> None:
    queries, codebooks = torch.randn(2, 2, 7, 8).permute(2, 0, 1, 3), torch.randn(2, 2, 8, 40).mT
    expected = product_key_topk(queries.contiguous(), codebooks.contiguous(), 4)
    for value, exact in zip(product_key_topk(queries, codebooks, 4), expected, strict=True):
        assert_close(value, exact, 1e-6)


def test_no_tokens_give_empty_results() -> None:
    scores, slots = product_key_topk(torch.randn(0, 2, 2, 8), torch.randn(2, 2, 40, 8), 4)
    assert scores.shape == slots.shape == (0, 2, 4)
