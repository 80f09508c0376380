import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archspec.kernels.product_key_topk import (
    product_key_topk,
    product_key_topk_backward,
    reference,
    stock,
)
from archspec.testing.kernels import KernelContract, count_flops
from archspec.testing.look_ups import zipf
from archspec.testing.tensors import Args, assert_close, magnitudes

HEADS, NUM_KEYS, HALF_DIM, TOP_K = 3, 7, 5, 4


def small_integers(*shape: int, dtype: torch.dtype = torch.float32, span: int = 1) -> Tensor:
    """Values whose scores are exact in every dtype, and tie all the time."""
    return torch.randint(-span, span + 1, shape).to(dtype)


class TestProductKeyTopK(KernelContract):
    op_name = "product_key_topk"

    def reference(self, *args):
        return reference.product_key_topk(*args)

    def sample_of(self, dtype, tokens: int, *, heads=HEADS, num_keys=NUM_KEYS, half_dim=HALF_DIM):
        queries = torch.randn(tokens, heads, 2, half_dim, dtype=torch.float64)
        codebooks = torch.randn(2, heads, num_keys, half_dim, dtype=torch.float64)
        if dtype != torch.float64:
            # In steps of 2^-4 scores are exact, so that this dtype and fp64 select the same slots.
            queries, codebooks = ((t * 16).round() / 16 for t in (queries, codebooks))
        return queries.to(dtype), codebooks.to(dtype)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        return *self.sample_of(dtype, tokens), TOP_K

    def sample_of_width(self, dtype: torch.dtype, width: int) -> Args:
        return *self.sample_of(dtype, 9, half_dim=width), TOP_K

    def hard_samples(self):
        def equal_queries(dtype: torch.dtype) -> Args:
            queries, codebooks = self.sample_of(dtype, 1)
            return queries.expand(50, -1, -1, -1).contiguous(), codebooks, TOP_K

        return {
            **super().hard_samples(),
            "one slot": lambda dtype: (*self.sample_of(dtype, 9), 1),
            "every key": lambda dtype: (*self.sample_of(dtype, 9), NUM_KEYS),
            "one key": lambda dtype: (*self.sample_of(dtype, 9, num_keys=1), 1),
            "one head": lambda dtype: (*self.sample_of(dtype, 9, heads=1), TOP_K),
            "many keys": lambda dtype: (*self.sample_of(dtype, 9, num_keys=130), 32),
            "equal queries": equal_queries,
        }

    def test_forward_and_backward_cost_what_stock_matmuls_do(self, dtype: torch.dtype) -> None:
        def train(function):
            def step(queries, codebooks, top_k):
                function(queries.requires_grad_(), codebooks.requires_grad_(), top_k)[
                    0
                ].sum().backward()

            return step

        args = self.sample(dtype, 5)
        assert count_flops(train(self.op), args) == count_flops(train(self.reference), args)


class TestProductKeyTopKBackward(KernelContract):
    op_name = "product_key_topk_backward"
    reference_is_matmuls = False

    def reference(self, *args):
        return reference.product_key_topk_backward(*args)

    def sample_of(self, dtype: torch.dtype, slots: Tensor, *, half_dim=HALF_DIM) -> Args:
        tokens, heads, _ = slots.shape
        grad_dtype = torch.promote_types(dtype, torch.float32)
        return (
            torch.randn(slots.shape, dtype=grad_dtype),
            slots.int(),
            torch.randn(tokens, heads, 2, half_dim, dtype=dtype),
            torch.randn(2, heads, NUM_KEYS, half_dim, dtype=dtype),
        )

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        return self.sample_of(dtype, torch.randint(0, NUM_KEYS**2, (tokens, HEADS, TOP_K)))

    def sample_of_width(self, dtype: torch.dtype, width: int) -> Args:
        slots = torch.randint(0, NUM_KEYS**2, (9, HEADS, TOP_K))
        return self.sample_of(dtype, slots, half_dim=width)

    def hard_samples(self):
        def drawn(slots: Tensor):
            return lambda dtype: magnitudes(self.sample_of(dtype, slots))

        return {
            **super().hard_samples(),
            "one slot": drawn(torch.randint(0, NUM_KEYS**2, (40, HEADS, 1))),
            "one slot taken by all": drawn(torch.full((2000, HEADS, TOP_K), 17)),
            "zipf": drawn(zipf(200 * HEADS, TOP_K, NUM_KEYS**2).view(200, HEADS, TOP_K)),
        }

    def documented_flops(self, grad_scores, slots, queries, codebooks) -> int:
        return 2 * (2 * queries.numel() * NUM_KEYS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("num_keys", [1, 2, 7, 13])
def test_ties_go_as_in_brute_force(num_keys: int, dtype: torch.dtype) -> None:
    queries = small_integers(6, 2, 2, 3, dtype=dtype)
    codebooks = small_integers(2, 2, num_keys, 3, dtype=dtype)
    for top_k in range(1, num_keys + 1):
        scores, slots = product_key_topk(queries, codebooks, top_k)
        exact_scores, exact_slots = reference.product_key_topk(queries, codebooks, top_k)
        assert torch.equal(scores, exact_scores)
        assert torch.equal(slots, exact_slots)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(0, 4),
    heads=st.integers(1, 3),
    half_dim=st.integers(1, 5),
    num_keys_and_top_k=st.integers(1, 19).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(1, n))
    ),
    span=st.integers(0, 40),
    seed=st.integers(0, 2**31),
)
def test_equals_brute_force(tokens, heads, half_dim, num_keys_and_top_k, span, seed) -> None:
    torch.manual_seed(seed)
    num_keys, top_k = num_keys_and_top_k
    queries = small_integers(tokens, heads, 2, half_dim, span=span)
    codebooks = small_integers(2, heads, num_keys, half_dim, span=span)
    scores, slots = product_key_topk(queries, codebooks, top_k)
    exact_scores, exact_slots = reference.product_key_topk(queries, codebooks, top_k)
    assert torch.equal(scores, exact_scores)
    assert torch.equal(slots, exact_slots)


def test_all_slots_equal_gives_the_lowest_ones() -> None:
    scores, slots = product_key_topk(torch.zeros(3, 1, 2, 4), torch.randn(2, 1, 9, 4), 5)
    assert not scores.any()
    assert torch.equal(slots, torch.arange(5, dtype=torch.int32).expand(3, 1, 5))


def test_several_chunks_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, codebooks = small_integers(7, 2, 2, 3), small_integers(2, 2, 13, 3)
    expected = product_key_topk(queries, codebooks, 5)
    monkeypatch.setattr(stock, "_CHUNK_ELEMENTS", 3 * 2 * 2 * 13)
    chunked = product_key_topk(queries, codebooks, 5)
    assert all(torch.equal(a, b) for a, b in zip(chunked, expected, strict=True))


def test_the_backward_in_several_chunks_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")
    args = TestProductKeyTopKBackward().sample(torch.float64, 7)
    exact = product_key_topk_backward(*args)
    monkeypatch.setattr(stock, "_CHUNK_ELEMENTS", 3 * 2 * HEADS * NUM_KEYS)
    for chunked, whole in zip(product_key_topk_backward(*args), exact, strict=True):
        assert_close(chunked, whole, 1e-15)


def test_real_scores_are_those_of_brute_force() -> None:
    queries, codebooks = torch.randn(50, 2, 2, 9), torch.randn(2, 2, 31, 9)
    scores, slots = product_key_topk(queries, codebooks, 16)
    exact_scores, exact_slots = reference.product_key_topk(queries.double(), codebooks.double(), 16)
    assert_close(scores, exact_scores, 1e-6)
    assert torch.equal(slots, exact_slots)


def test_autocast_rounds_nothing_inside_the_op() -> None:
    queries, codebooks = torch.randn(9, 2, 2, 9), torch.randn(2, 2, 31, 9)
    op = torch.ops.archspec.product_key_topk
    scores, slots = op(queries, codebooks, 16)
    grads = product_key_topk_backward(scores, slots, queries, codebooks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(op(queries, codebooks, 16)[0], scores)
        cast_grads = product_key_topk_backward(scores, slots, queries, codebooks)
    assert all(torch.equal(a, b) for a, b in zip(cast_grads, grads, strict=True))


@pytest.mark.parametrize("top_k", [8, 16, 32, 64])
def test_the_pruned_pairs_are_those_under_the_hyperbola(top_k: int) -> None:
    first, second = stock._winning_ranks(top_k, torch.device("cpu"))
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == {
        (a, b) for a in range(top_k) for b in range(top_k) if (a + 1) * (b + 1) <= top_k
    }
    assert len(first) == {8: 20, 16: 50, 32: 119, 64: 280}[top_k]


@pytest.mark.parametrize("num_keys", [46_340, 46_341])
def test_slots_widen_when_int32_cannot_hold_them(
    monkeypatch: pytest.MonkeyPatch, num_keys: int
) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")  # brute force would take 16 GB
    queries, codebooks = torch.zeros(1, 1, 2, 1), torch.zeros(2, 1, num_keys, 1)
    queries[:] = codebooks[:, :, -1] = 1
    _, slots = product_key_topk(queries, codebooks, 1)
    assert slots.item() == num_keys**2 - 1
    assert slots.dtype == (torch.int32 if math.isqrt(2**31) >= num_keys else torch.int64)


@pytest.mark.parametrize("top_k", [0, 8])
def test_top_k_must_lie_between_one_and_num_keys(top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k={top_k} and num_keys=7; lower top_k"):
        product_key_topk(torch.zeros(1, 1, 2, 3), torch.zeros(2, 1, 7, 3), top_k)


@pytest.mark.parametrize(
    ("queries", "codebooks", "message"),
    [
        (torch.zeros(1, 1, 2, 3), torch.zeros(2, 1, 7, 4), r"\[2, 1, 7, 4\]"),
        (torch.zeros(1, 1, 3, 3), torch.zeros(3, 1, 7, 3), r"\[1, 1, 3, 3\]"),
        (torch.zeros(1, 2, 2, 3), torch.zeros(2, 1, 7, 3), r"\[1, 2, 2, 3\]"),
        (torch.zeros(1, 1, 2, 3), torch.zeros(2, 1, 7, 3).double(), "torch.float64"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(queries, codebooks, message) -> None:
    with pytest.raises(ValueError, match=message):
        product_key_topk(queries, codebooks, 1)


def test_autocast_casts_queries_and_codebooks_and_keeps_scores_in_fp32() -> None:
    queries, codebooks = torch.randn(5, 2, 2, 3), torch.randn(2, 2, 7, 3)
    expected = product_key_topk(queries.bfloat16(), codebooks.bfloat16(), 4)
    with torch.autocast("cpu", torch.bfloat16):
        scores, slots = product_key_topk(queries.bfloat16(), codebooks, 4)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, expected[0])
    assert torch.equal(slots, expected[1])
