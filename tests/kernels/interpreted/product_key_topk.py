"""Values of the Triton kernels of product_key_topk, run by Triton's interpreter.

Not collected by itself: tests/kernels/test_triton_product_key_topk.py starts a process for it.
"""

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.product_key_topk import (
    gpu,
    gpu_backward,
    product_key_topk,
    product_key_topk_backward,
    reference,
)
from archspec.testing.kernels import assert_close, error_ratio

HEADS = 2


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["doubles", "integers"])
def key_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_compares_doubles", lambda _: request.param == "doubles")


def small_integers(*shape: int, span: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values whose scores are exact in every dtype, and tie all the time."""
    return torch.randint(-span, span + 1, shape).to(dtype)


def assert_equals_brute_force(queries: Tensor, codebooks: Tensor, top_k: int) -> None:
    scores, slots = product_key_topk(queries, codebooks, top_k)
    exact_scores, exact_slots = reference.product_key_topk(
        queries.double(), codebooks.double(), top_k
    )
    assert torch.equal(scores, exact_scores.float())
    assert torch.equal(slots, exact_slots)


def test_the_kernels_under_test_are_those_of_triton() -> None:
    sizes = {"top_k": 64, "num_keys": 32_768}
    for op_name in ("product_key_topk", "product_key_topk_backward"):
        call = dispatch.Call(device="cpu", dtype=torch.bfloat16, width=8, sizes=sizes)
        assert dispatch.explain(op_name, call).implementation.word == "triton"


@pytest.mark.usefixtures("key_type")
@pytest.mark.parametrize(
    ("num_keys", "top_k"),
    [(1, 1), (3, 2), (8, 8), (31, 7), (64, 64), (100, 1), (256, 32), (1024, 32)],
)
def test_equals_brute_force_ties_included(num_keys: int, top_k: int) -> None:
    queries = small_integers(3, HEADS, 2, 3)
    assert_equals_brute_force(queries, small_integers(2, HEADS, num_keys, 3), top_k)


@pytest.mark.parametrize(("num_keys", "top_k"), [(31, 31), (256, 8), (1000, 64), (1000, 7)])
def test_equals_brute_force_on_few_ties(num_keys: int, top_k: int) -> None:
    queries = small_integers(2, HEADS, 2, 3, span=300)
    assert_equals_brute_force(queries, small_integers(2, HEADS, num_keys, 3, span=300), top_k)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_of_16_bit_queries_are_kept_in_fp32(dtype: torch.dtype) -> None:
    queries = small_integers(3, HEADS, 2, 5, span=120, dtype=dtype)
    codebooks = small_integers(2, HEADS, 40, 5, span=120, dtype=dtype)
    assert_equals_brute_force(queries, codebooks, 8)
    assert product_key_topk(queries, codebooks, 8)[0].dtype == torch.float32


def test_real_scores_are_those_of_brute_force() -> None:
    queries, codebooks = torch.randn(9, HEADS, 2, 9), torch.randn(2, HEADS, 100, 9)
    scores, slots = product_key_topk(queries, codebooks, 16)
    exact_scores, exact_slots = reference.product_key_topk(queries.double(), codebooks.double(), 16)
    assert_close(scores, exact_scores, 1e-6)
    assert torch.equal(slots, exact_slots)


@pytest.mark.parametrize("value", [0.0, -3.0, float("inf"), float("-inf")])
def test_all_scores_equal_gives_the_lowest_slots(value: float) -> None:
    queries, codebooks = torch.ones(2, 1, 2, 1), torch.full((2, 1, 70, 1), value)
    scores, slots = product_key_topk(queries, codebooks, 32)
    assert torch.equal(scores, torch.full((2, 1, 32), 2 * value))
    assert torch.equal(slots, torch.arange(32, dtype=torch.int32).expand(2, 1, 32))


@pytest.mark.usefixtures("key_type")
def test_infinite_scores_keep_their_order() -> None:
    codebooks = small_integers(2, HEADS, 100, 1, span=40)
    codebooks[:, :, 3::4] = float("-inf")
    codebooks[:, 1, 9:] = float("-inf")
    assert_equals_brute_force(torch.ones(2, HEADS, 2, 1), codebooks, 8)
    assert_equals_brute_force(torch.ones(2, HEADS, 2, 1), codebooks, 32)
    # A sum with plus infinity tells nothing of its other half: the candidates are the best there.
    codebooks[0, :, 50] = float("inf")
    codebooks[codebooks == float("-inf")] = -50
    scores, slots = product_key_topk(torch.ones(2, HEADS, 2, 1), codebooks, 32)
    assert (scores == float("inf")).all()
    assert torch.equal(slots // 100, torch.full_like(slots, 50))


@pytest.mark.usefixtures("key_type")
@pytest.mark.parametrize("num_keys", [8, 100])
def test_nan_comes_first_and_slots_stay_in_range(num_keys: int) -> None:
    codebooks = torch.randn(2, 1, num_keys, 1)
    codebooks[0, 0, 5] = float("nan")
    scores, slots = product_key_topk(torch.tensor([[[[1.0], [1.0]]]]), codebooks, 8)
    assert scores.isnan().all()
    assert torch.equal(slots // num_keys, torch.full_like(slots, 5))
    queries = torch.full((1, 1, 2, 1), float("nan"))
    scores, slots = product_key_topk(queries, codebooks, 8)
    assert scores.isnan().all()
    assert torch.equal(slots.flatten(), torch.arange(8, dtype=torch.int32))


@pytest.mark.usefixtures("key_type")
def test_a_zero_has_no_sign_and_a_nan_none_either() -> None:
    half_scores = torch.zeros(2, 1, 16)
    half_scores[:, :, ::2] = -0.0
    keys = gpu._best_of_halves(half_scores, 16, 8)
    scores, slots = torch.full((1, 1, 8), -1.0), torch.empty(1, 1, 8, dtype=torch.int32)
    gpu._best_of_pairs(keys, 16, scores, slots)
    assert torch.equal(scores, torch.zeros(1, 1, 8))
    assert torch.equal(slots.flatten(), torch.arange(8, dtype=torch.int32))
    half_scores[:, :, 3] = torch.tensor(-1, dtype=torch.int32).view(torch.float32)
    gpu._best_of_pairs(gpu._best_of_halves(half_scores, 16, 8), 16, scores, slots)
    assert scores.isnan().all()
    assert torch.equal(slots.flatten()[:3], torch.tensor([3, 19, 35], dtype=torch.int32))


def test_zero_tokens() -> None:
    queries, codebooks = torch.zeros(0, HEADS, 2, 3), torch.randn(2, HEADS, 40, 3)
    scores, slots = product_key_topk(queries, codebooks, 8)
    assert scores.shape == slots.shape == (0, HEADS, 8)
    grad_queries, grad_codebooks = product_key_topk_backward(scores, slots, queries, codebooks)
    assert grad_queries.shape == queries.shape
    assert torch.equal(grad_codebooks, torch.zeros_like(codebooks))


def test_strided_arguments() -> None:
    queries = small_integers(2, 3, HEADS, 3).permute(1, 2, 0, 3)
    codebooks = small_integers(3, 40, HEADS, 2).permute(3, 2, 1, 0)
    assert_equals_brute_force(queries, codebooks, 8)


def test_several_chunks_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, codebooks = small_integers(7, HEADS, 2, 3), small_integers(2, HEADS, 40, 3)
    expected = product_key_topk(queries, codebooks, 5)
    grads = torch.randn(7, HEADS, 5)
    expected_grads = product_key_topk_backward(grads, expected[1], queries, codebooks)
    monkeypatch.setattr(gpu, "_CHUNK_ELEMENTS", 3 * 2 * HEADS * gpu.padded(40))
    assert len(gpu.chunks(7, 2 * HEADS * gpu.padded(40))) == 3
    chunked = product_key_topk(queries, codebooks, 5)
    assert all(torch.equal(a, b) for a, b in zip(chunked, expected, strict=True))
    chunked_grads = product_key_topk_backward(grads, expected[1], queries, codebooks)
    for chunk_grad, grad in zip(chunked_grads, expected_grads, strict=True):
        assert_close(chunk_grad, grad, 1e-6)


@pytest.mark.parametrize(
    ("dtype", "ratio"),
    [
        (torch.float32, 1e-6),
        (torch.float16, 2**-8),
        # The interpreter truncates to bf16, at twice the error of a GPU, which rounds: 2 x 2^-8.
        (torch.bfloat16, 2**-7),
    ],
)
@pytest.mark.parametrize(("num_keys", "top_k"), [(1, 1), (7, 4), (100, 33), (1000, 64)])
def test_gradients_match_the_reference(dtype, ratio, num_keys: int, top_k: int) -> None:
    grads = torch.randn(5, HEADS, top_k)
    slots = torch.randint(0, num_keys**2, (5, HEADS, top_k), dtype=torch.int32)
    queries = torch.randn(5, HEADS, 2, 7, dtype=dtype)
    codebooks = torch.randn(2, HEADS, num_keys, 7, dtype=dtype)
    outputs = product_key_topk_backward(grads, slots, queries, codebooks)
    exact = reference.product_key_topk_backward(
        grads.double(), slots, queries.double(), codebooks.double()
    )
    for output, value in zip(outputs, exact, strict=True):
        assert output.dtype == dtype
        assert error_ratio(output, value) <= ratio


def test_all_picks_on_one_key() -> None:
    grads, slots = torch.randn(3, HEADS, 32), torch.full((3, HEADS, 32), 5 * 40 + 7)
    grad_halves = torch.full((2 * HEADS, 3, gpu.padded(40)), float("nan"))
    gpu_backward._spread(grads, slots.int(), grad_halves, 40)
    expected = torch.zeros(HEADS, 2, 3, gpu.padded(40))
    expected[:, 0, :, 5] = expected[:, 1, :, 7] = grads.sum(-1).T
    torch.testing.assert_close(grad_halves, expected.flatten(0, 1), rtol=1e-5, atol=1e-5)


def test_autograd_reaches_queries_and_codebooks() -> None:
    queries = torch.randn(4, HEADS, 2, 5, requires_grad=True)
    codebooks = torch.randn(2, HEADS, 30, 5, requires_grad=True)
    scores, _ = product_key_topk(queries, codebooks, 6)
    grads = torch.autograd.grad(scores.square().sum(), (queries, codebooks))
    exact, _ = reference.product_key_topk(queries, codebooks, 6)
    exact_grads = torch.autograd.grad(exact.square().sum(), (queries, codebooks))
    for grad, value in zip(grads, exact_grads, strict=True):
        assert_close(grad, value, 1e-6)


def test_is_bitwise_reproducible() -> None:
    queries, codebooks = torch.randn(5, HEADS, 2, 5), torch.randn(2, HEADS, 100, 5)
    grads = torch.randn(5, HEADS, 16)
    runs = []
    for _ in range(2):
        scores, slots = product_key_topk(queries, codebooks, 16)
        runs.append((scores, slots, *product_key_topk_backward(grads, slots, queries, codebooks)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
