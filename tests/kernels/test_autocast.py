import pytest
import torch

from archspec.kernels.autocast import cast_for_matmul, is_autocast
from archspec.kernels.embedding_bag import embedding_bag
from archspec.kernels.grouped_matmul import grouped_matmul
from archspec.kernels.product_key_topk import product_key_topk


def layer(queries, codebooks, table, experts):
    """Every public op, with the dtypes that autocast gives them: matmuls are bf16, softmax fp32."""
    scores, slots = product_key_topk(queries, codebooks, 3)
    values = embedding_bag(slots.flatten(1), scores.softmax(-1).flatten(1), table)
    ends = torch.full((1,), queries.shape[0], dtype=torch.int32)
    return grouped_matmul(values, experts, ends)


def draw(tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    shapes = (tokens, 2, 2, 4), (2, 2, 5, 4), (25, 8), (1, 8, 6)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def test_a_layer_trains_and_keeps_the_dtypes_of_its_parameters() -> None:
    args = draw(7)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(args[0].bfloat16(), *args[1:])
    assert result.dtype == torch.bfloat16
    result.float().square().sum().backward()
    assert [arg.grad.dtype for arg in args] == [torch.float32] * 4
    assert all(arg.grad.isfinite().all() and arg.grad.any() for arg in args)


def test_a_layer_compiles_without_a_break() -> None:
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for tokens in (9, 2, 40):
        args = draw(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(compiled(*args), layer(*args))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_nothing_is_cast_outside_of_autocast(device: str) -> None:
    matrix = torch.empty(1, 1, device=device)
    assert not is_autocast(device)
    assert cast_for_matmul(matrix)[0] is matrix


def test_tensors_without_values_are_cast_by_the_autocast_of_their_own_device() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert cast_for_matmul(torch.empty(1, 1, device="meta"))[0].dtype == torch.float32
