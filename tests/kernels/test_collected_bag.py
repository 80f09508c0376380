import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from archspec.kernels.collected_bag import collected_bag, collected_gather_dot
from archspec.kernels.embedding_bag import embedding_bag, gather_dot
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer.decay import LazyDecay
from archspec.testing.kernels import assert_close

SLOTS, WIDTH, PICKS = 20, 6, 4


class Rig:
    """A loss that looks up twice, dense and collected."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.indices = torch.randint(0, SLOTS, (7, PICKS))
        self.down = torch.randn(SLOTS, WIDTH, dtype=dtype, requires_grad=True)
        self.table = torch.randn(SLOTS, WIDTH, dtype=dtype, requires_grad=True)
        self.x = torch.randn(7, WIDTH, dtype=dtype, requires_grad=True)
        self.gradients = [RowGradient(slots=SLOTS, width=WIDTH) for _ in range(2)]

    def dense(self, x: Tensor) -> Tensor:
        scores = gather_dot(self.indices, x, self.down)
        return embedding_bag(self.indices, torch.tanh(scores), self.table)

    def collected(self, x: Tensor) -> Tensor:
        of_down, of_table = self.gradients
        scores = collected_gather_dot(self.indices, x, self.down, of_down)
        return collected_bag(self.indices, torch.tanh(scores), self.table, of_table)

    def check(self, result: Tensor, *, times: int = 1) -> None:
        """Demand the dense result and gradients, the tables' in the carriers."""
        exact = self.dense(self.x)
        grads = torch.autograd.grad(exact.square().sum(), (self.down, self.table, self.x))
        assert_close(result, exact, 1e-13)
        assert self.table.grad is None
        assert self.down.grad is None
        for gradient, expected in zip(self.gradients, grads, strict=False):
            assert len(gradient.entries) == times
            assert_close(gradient.to_dense(), times * expected, 1e-12)
        assert_close(self.x.grad, times * grads[2], 1e-12)


def test_tables_collect_and_the_rest_gets_its_gradients() -> None:
    rig = Rig()
    result = rig.collected(rig.x)
    result.square().sum().backward()
    rig.check(result)


def test_micro_batches_accumulate() -> None:
    rig = Rig()
    for _ in range(3):
        result = rig.collected(rig.x)
        result.square().sum().backward()
    rig.check(result, times=3)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_look_up_is_collected_once(reentrant: bool) -> None:
    rig = Rig()
    result = checkpoint(rig.collected, rig.x, use_reentrant=reentrant)
    result.square().sum().backward()
    rig.check(result)


@pytest.mark.filterwarnings("default")  # dynamo's own warnings
def test_a_compiled_function_breaks_its_graph_and_is_right() -> None:
    torch.compiler.reset()
    rig = Rig()
    compiled = torch.compile(lambda x: rig.collected(x * 1.0) * 1.0, backend="aot_eager")
    result = compiled(rig.x)
    result.square().sum().backward()
    rig.check(result)


def test_without_gradients_nothing_is_collected() -> None:
    rig = Rig()
    with torch.no_grad():
        assert_close(rig.collected(rig.x), rig.dense(rig.x), 1e-13)
    assert all(gradient.is_empty for gradient in rig.gradients)


def test_a_frozen_table_collects_nothing_and_passes_gradients_on() -> None:
    rig = Rig()
    rig.table.requires_grad_(False)
    rig.collected(rig.x).square().sum().backward()
    assert rig.gradients[1].is_empty
    assert not rig.gradients[0].is_empty
    (expected,) = torch.autograd.grad(rig.dense(rig.x).square().sum(), rig.x)
    assert_close(rig.x.grad, expected, 1e-12)


def test_constant_weights_are_enough_to_collect() -> None:
    rig, gradient = Rig(), RowGradient(slots=SLOTS, width=WIDTH)
    weights = torch.ones(7, PICKS, dtype=torch.float64)
    collected_bag(rig.indices, weights, rig.table, gradient).sum().backward()
    counts = torch.bincount(rig.indices.flatten(), minlength=SLOTS).double()
    assert torch.equal(gradient.to_dense(), counts[:, None].expand(-1, WIDTH))


def test_a_second_derivative_is_refused() -> None:
    rig = Rig()
    loss = rig.collected(rig.x).square().sum()
    (grad,) = torch.autograd.grad(loss, rig.x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_look_ups_count_in_what_rows_owe() -> None:
    rig = Rig()
    total, settled = torch.tensor(-0.5).double(), -0.5 * torch.rand(SLOTS).double()
    for gradient in rig.gradients:
        gradient.decay = LazyDecay(total, settled)
    result = rig.collected(rig.x)
    result.square().sum().backward()
    factors = torch.exp(total - settled)[:, None]
    with torch.no_grad():
        rig.table *= factors
        rig.down *= factors
    rig.check(result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_and_gradients_have_the_dtypes_of_the_dense_ops(dtype: torch.dtype) -> None:
    rig = Rig(dtype)
    rig.gradients[0].decay = LazyDecay(torch.zeros(()).double(), torch.zeros(SLOTS).double())
    weights = torch.rand(7, PICKS, requires_grad=True)
    result = collected_bag(rig.indices, weights, rig.table, rig.gradients[0])
    result.float().sum().backward()
    assert (result.dtype, weights.grad.dtype) == (dtype, torch.float32)
    scores = collected_gather_dot(rig.indices, rig.x, rig.down, rig.gradients[0])
    scores.sum().backward()
    assert (scores.dtype, rig.x.grad.dtype) == (torch.float32, dtype)
