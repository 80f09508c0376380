import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.product_key_topk import (
    product_key_topk,
    product_key_topk_backward,
    reference,
)
from archspec.testing.kernels import ERROR_RATIOS, error_ratio

pytestmark = pytest.mark.gpu

HEADS = 4


@pytest.fixture(autouse=True)
def _on_the_gpu() -> None:
    torch.set_default_device("cuda")
    yield
    torch.set_default_device("cpu")


def small_integers(*shape: int, span: int, dtype: torch.dtype) -> Tensor:
    """Values whose scores are exact in every dtype."""
    return torch.randint(-span, span + 1, shape).to(dtype)


def test_triton_is_chosen() -> None:
    sizes = {"top_k": 32, "num_keys": 1024}
    call = dispatch.Call(device="cuda", dtype=torch.bfloat16, width=256, sizes=sizes)
    for op_name in ("product_key_topk", "product_key_topk_backward"):
        assert dispatch.explain(op_name, call).implementation.word == "triton"


@pytest.mark.parametrize("as_doubles", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("span", [1, 100])
@pytest.mark.parametrize(
    ("num_keys", "top_k"), [(1, 1), (3, 2), (31, 7), (100, 32), (256, 8), (1000, 64), (1024, 32)]
)
def test_equals_brute_force(monkeypatch, num_keys, top_k, span, dtype, as_doubles) -> None:
    monkeypatch.setattr(
        "archspec.kernels.product_key_topk.gpu._compares_doubles", lambda _: as_doubles
    )
    queries = small_integers(9, HEADS, 2, 16, span=span, dtype=dtype)
    codebooks = small_integers(2, HEADS, num_keys, 16, span=span, dtype=dtype)
    scores, slots = product_key_topk(queries, codebooks, top_k)
    exact_scores, exact_slots = reference.product_key_topk(queries, codebooks, top_k)
    assert torch.equal(scores, exact_scores)
    assert torch.equal(slots, exact_slots)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_and_gradients_of_many_tokens_match_stock_torch_in_fp64(monkeypatch, dtype) -> None:
    queries = torch.randn(9000, HEADS, 2, 64, dtype=dtype)
    codebooks = torch.randn(2, HEADS, 1024, 64, dtype=dtype)
    scores, slots = product_key_topk(queries, codebooks, 32)
    grads = product_key_topk_backward(scores, slots, queries, codebooks)
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")
    exact_scores, _ = product_key_topk(queries.double(), codebooks.double(), 32)
    exact_grads = product_key_topk_backward(
        scores.double(), slots, queries.double(), codebooks.double()
    )
    assert error_ratio(scores, exact_scores) <= ERROR_RATIOS[torch.float32]
    for grad, exact in zip(grads, exact_grads, strict=True):
        assert error_ratio(grad, exact) <= ERROR_RATIOS[dtype]


def test_ten_runs_give_the_same_bits() -> None:
    queries = torch.randn(2000, HEADS, 2, 64, dtype=torch.bfloat16)
    codebooks = torch.randn(2, HEADS, 1024, 64, dtype=torch.bfloat16)

    def run() -> tuple[Tensor, ...]:
        scores, slots = product_key_topk(queries, codebooks, 32)
        return scores, slots, *product_key_topk_backward(scores, slots, queries, codebooks)

    first = run()
    for _ in range(9):
        assert all(torch.equal(a, b) for a, b in zip(run(), first, strict=True))


def test_compiles_for_any_number_of_tokens() -> None:
    compiled = torch.compile(product_key_topk, fullgraph=True, dynamic=True)
    codebooks = torch.randn(2, HEADS, 256, 64)
    for tokens in (2, 19, 5000):
        queries = torch.randn(tokens, HEADS, 2, 64)
        pairs = zip(
            compiled(queries, codebooks, 32), product_key_topk(queries, codebooks, 32), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)
