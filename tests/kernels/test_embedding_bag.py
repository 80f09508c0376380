import pytest
import torch
from torch import Tensor

from archspec.kernels.embedding_bag import embedding_bag, gather_dot, reference, scatter_rows, stock
from archspec.testing.kernels import prefer
from archspec.testing.look_ups import PICKS, SLOTS, LookUpContract, uniform
from archspec.testing.look_ups import WIDTH as VALUE_DIM
from archspec.testing.tensors import Args, assert_close, error_ratio


def draw_indices(tokens: int) -> Tensor:
    return uniform(tokens, PICKS, SLOTS)


class TestEmbeddingBag(LookUpContract):
    op_name = "embedding_bag"

    def reference(self, *args):
        return reference.embedding_bag(*args)

    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots: int, width: int) -> Args:
        weights = torch.randn(indices.shape, dtype=dtype)
        return indices, weights, torch.randn(slots, width, dtype=dtype)


class TestEmbeddingBagWithFp32Weights(TestEmbeddingBag):
    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots: int, width: int) -> Args:
        indices, weights, table = super().sample_of(dtype, indices, slots=slots, width=width)
        narrow = dtype in (torch.bfloat16, torch.float16)
        return indices.int(), torch.rand(weights.shape) if narrow else weights, table


class TestGatherDot(LookUpContract):
    op_name = "gather_dot"

    def reference(self, *args):
        return reference.gather_dot(*args)

    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots: int, width: int) -> Args:
        grad = torch.randn(len(indices), width, dtype=dtype)
        return indices, grad, torch.randn(slots, width, dtype=dtype)


class TestScatterRows(LookUpContract):
    op_name = "scatter_rows"

    def reference(self, *args):
        return reference.scatter_rows(*args)

    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots: int, width: int) -> Args:
        weights = torch.randn(indices.shape, dtype=dtype)
        return indices.int(), weights, torch.randn(len(indices), width, dtype=dtype), slots


class TestEmbeddingBagBackward(LookUpContract):
    op_name = "embedding_bag_backward"

    def reference(self, *args):
        return reference.embedding_bag_backward(*args)

    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots: int, width: int) -> Args:
        weights = torch.randn(indices.shape, dtype=dtype)
        grad = torch.randn(len(indices), width, dtype=dtype)
        return indices, weights, grad, torch.randn(slots, width, dtype=dtype)


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


FAR_TABLES = {
    "more elements than int32 counts": (2**21 + 64, 1024),
    "more slots than int32 counts": (2**31 + 64, 1),
}


@pytest.mark.parametrize("word", ["reference", "torch", "numba"])
@pytest.mark.parametrize(("slots", "width"), FAR_TABLES.values(), ids=FAR_TABLES)
def test_tables_of_more_than_2_to_the_31_elements_are_addressed_right(
    monkeypatch: pytest.MonkeyPatch, word: str, slots: int, width: int
) -> None:
    prefer(monkeypatch, word)
    near = draw_indices(6)  # [tokens, PICKS] int64
    weights, rows = torch.randn(6, PICKS), torch.randn(SLOTS, width)
    grad = torch.randn(6, width).bfloat16()
    # 4 GB that the system maps page by page: only the rows written here take memory.
    table = torch.empty(slots, width, dtype=torch.bfloat16)
    table[-SLOTS:] = rows
    far, rows = near + slots - SLOTS, rows.bfloat16()
    assert torch.equal(embedding_bag(far, weights, table), embedding_bag(near, weights, rows))
    assert torch.equal(gather_dot(far, grad, table), gather_dot(near, grad, rows))


@pytest.mark.parametrize("table_dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_fits_the_weights_and_leaves_the_table_alone(table_dtype, weight_dtype) -> None:
    indices, weights = draw_indices(4), torch.randn(4, PICKS, dtype=weight_dtype)
    table = torch.randn(SLOTS, VALUE_DIM, dtype=table_dtype)
    wide = torch.promote_types(table_dtype, torch.float32)
    expected = embedding_bag(indices, weights.to(wide), table)
    with torch.autocast("cpu", torch.bfloat16):
        result = embedding_bag(indices, weights, table)
    assert result.dtype == table_dtype
    assert_close(result, expected, 0.0 if weight_dtype != table_dtype else 2**-8)
