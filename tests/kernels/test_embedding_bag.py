import pytest
import torch
from torch import Tensor

from archspec.kernels.embedding_bag import embedding_bag, gather_dot, reference, scatter_rows, stock
from archspec.testing.kernels import Args, KernelContract, assert_close, error_ratio, gradients

SLOTS, PICKS, VALUE_DIM = 11, 5, 7


def draw_indices(tokens: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.randint(0, SLOTS, (tokens, PICKS), dtype=dtype)


class TestEmbeddingBag(KernelContract):
    op_name = "embedding_bag"

    def reference(self, *args):
        return reference.embedding_bag(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        weights = torch.randn(tokens, PICKS, dtype=dtype)
        return draw_indices(tokens), weights, torch.randn(SLOTS, VALUE_DIM, dtype=dtype)


class TestEmbeddingBagWithFp32Weights(TestEmbeddingBag):
    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        indices, weights, table = super().sample(dtype, tokens)
        narrow = dtype in (torch.bfloat16, torch.float16)
        return indices.int(), torch.rand(weights.shape) if narrow else weights, table


class TestGatherDot(KernelContract):
    op_name = "gather_dot"

    def reference(self, *args):
        return reference.gather_dot(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        grad = torch.randn(tokens, VALUE_DIM, dtype=dtype)
        return draw_indices(tokens), grad, torch.randn(SLOTS, VALUE_DIM, dtype=dtype)


class TestScatterRows(KernelContract):
    op_name = "scatter_rows"

    def reference(self, *args):
        return reference.scatter_rows(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        weights = torch.randn(tokens, PICKS, dtype=dtype)
        grad = torch.randn(tokens, VALUE_DIM, dtype=dtype)
        return draw_indices(tokens, torch.int32), weights, grad, SLOTS


class TestEmbeddingBagBackward(KernelContract):
    op_name = "embedding_bag_backward"

    def reference(self, *args):
        return reference.embedding_bag_backward(*args)

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        weights = torch.randn(tokens, PICKS, dtype=dtype)
        grad = torch.randn(tokens, VALUE_DIM, dtype=dtype)
        return draw_indices(tokens), weights, grad, torch.randn(SLOTS, VALUE_DIM, dtype=dtype)


RANDOM = torch.Generator().manual_seed(0)


def zipf(tokens: int, picks: int, slots: int) -> Tensor:
    return (torch.rand(tokens, picks, generator=RANDOM).pow(8) * slots).long()


LOOK_UPS = {
    "one pick": torch.randint(0, 300, (40, 1), generator=RANDOM),
    "duplicates in a bag": torch.randint(0, 300, (40, 1), generator=RANDOM).expand(-1, 6),
    "one row hit by all": torch.full((100, 16), 17),
    "one row hit by very many": torch.full((4096, 16), 17),
    "sorted": torch.arange(40 * 6).view(40, 6),
    "zipf": zipf(200, 16, 300),
}


@pytest.mark.parametrize("value_dim", [1, 3, 96, 1000])
@pytest.mark.parametrize("look_ups", LOOK_UPS)
def test_hard_look_ups_match_the_reference(look_ups: str, value_dim: int) -> None:
    indices = LOOK_UPS[look_ups]
    # All positive, so that the ratio measures how sums are kept and not how much they cancel.
    weights = torch.rand(indices.shape, requires_grad=True)
    table = torch.rand(300, value_dim, requires_grad=True)
    exact_args = [a.detach().double().requires_grad_() for a in (weights, table)]
    output, exact = (
        embedding_bag(indices, weights, table),
        reference.embedding_bag(indices, *exact_args),
    )
    cotangent = torch.rand_like(output)
    assert_close(output, exact, 1e-6)
    grads = gradients((output,), (weights, table), (cotangent,))
    exact_grads = gradients((exact,), tuple(exact_args), (cotangent.double(),))
    for grad, value in zip(grads, exact_grads, strict=True):
        assert_close(grad, value, 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_sums_do_not_stall(dtype: torch.dtype) -> None:
    indices = torch.zeros(1, 4096, dtype=torch.int64)
    ones = torch.ones(1, 4096, dtype=dtype)
    assert embedding_bag(indices, ones, torch.ones(1, 3, dtype=dtype)).eq(4096).all()
    assert scatter_rows(indices, ones, torch.ones(1, 3, dtype=dtype), 1).eq(4096).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fp32_weights_keep_their_precision_over_a_narrow_table(dtype: torch.dtype) -> None:
    # Rows of one power of two round nothing, so all error is the weights'.
    indices, weights = torch.zeros(500, 1, dtype=torch.int64), torch.rand(500, 1)
    table = torch.ones(1, 1, dtype=dtype)
    cancelling = torch.cat((weights, -weights.to(dtype).float()), dim=1)
    remainder = embedding_bag(indices.expand(-1, 2), cancelling, table)
    assert error_ratio(remainder, cancelling.double().sum(1, keepdim=True)) < 2**-7


def test_gradient_reaches_a_table_through_an_expanded_cotangent() -> None:
    indices, weights, table = draw_indices(4), torch.ones(4, PICKS), torch.randn(SLOTS, VALUE_DIM)
    table.requires_grad_()
    embedding_bag(indices, weights, table).sum().backward()
    counts = torch.bincount(indices.flatten(), minlength=SLOTS).float()
    assert torch.equal(table.grad, counts[:, None].expand(-1, VALUE_DIM))


def test_gather_dot_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "_CHUNK_ELEMENTS", 2 * PICKS * VALUE_DIM)
    indices, grad, table = draw_indices(7), torch.randn(7, VALUE_DIM), torch.randn(11, VALUE_DIM)
    exact = reference.gather_dot(indices, grad.double(), table.double())
    assert_close(gather_dot(indices, grad, table), exact, 1e-6)


@pytest.mark.parametrize("bad", [-1, SLOTS])
@pytest.mark.parametrize("module", [stock, reference])
def test_an_index_out_of_range_is_refused(module, bad: int) -> None:
    indices = torch.tensor([[0, bad]])
    weights, grad, table = torch.ones(1, 2), torch.ones(1, 3), torch.ones(SLOTS, 3)
    with pytest.raises(IndexError):
        module.embedding_bag(indices, weights, table)
    with pytest.raises(IndexError):
        module.gather_dot(indices, grad, table)
    with pytest.raises((IndexError, RuntimeError)):
        module.scatter_rows(indices, weights, grad, SLOTS)


@pytest.mark.parametrize(
    ("indices", "weights", "table", "message"),
    [
        (torch.zeros(2, 3).long(), torch.zeros(2, 4), torch.zeros(5, 1), r"\[2, 3\], \[2, 4\]"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(5, 1), "not torch.float32"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3).half(), torch.zeros(5, 1), "torch.float16"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(indices, weights, table, message) -> None:
    with pytest.raises(ValueError, match=message):
        embedding_bag(indices, weights, table)


@pytest.mark.slow  # generates and compiles C++
@pytest.mark.filterwarnings("default")  # inductor's own warnings depend on the machine
def test_a_training_step_compiles_to_native_code() -> None:
    def loss(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
        return embedding_bag(indices, weights.softmax(-1), table).square().sum()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for tokens in (19, 2, 40):
        indices = draw_indices(tokens)
        weights = torch.randn(tokens, PICKS, requires_grad=True)
        table = torch.randn(SLOTS, VALUE_DIM, requires_grad=True)
        grads = torch.autograd.grad(compiled(indices, weights, table), (weights, table))
        exact = torch.autograd.grad(loss(indices, weights, table), (weights, table))
        for grad, value in zip(grads, exact, strict=True):
            assert_close(grad, value, 1e-6)
