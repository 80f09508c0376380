"""The numba kernels of gather_dot and scatter_rows."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.embedding_bag import cpu, gather_dot, reference, scatter_rows
from archspec.testing.kernels import assert_close, poisoned_memory

SLOTS = 300
WIDTHS = (1, 3, 96, 100, 768, 1000, 1536, 2048)
RANDOM = torch.Generator().manual_seed(0)


def draw(tokens: int, picks: int) -> Tensor:
    return torch.randint(0, SLOTS, (tokens, picks), generator=RANDOM)


LOOK_UPS = {
    "uniform": draw(50, 7),
    "one pick": draw(40, 1),
    "duplicates in a bag": draw(40, 1).expand(-1, 6),
    "one row hit by all": torch.full((100, 16), 17),
    "sorted": torch.arange(40 * 6).view(40, 6),
    "zipf": (torch.rand(200, 16, generator=RANDOM).pow(8) * SLOTS).long(),
    "no tokens": draw(0, 5),
    "no picks": draw(5, 0),
}


@pytest.fixture(autouse=True)
def _numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "numba")


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("value_dim", WIDTHS)
@pytest.mark.parametrize("look_ups", LOOK_UPS)
def test_both_ops_match_the_reference(look_ups: str, value_dim: int) -> None:
    indices = LOOK_UPS[look_ups]
    # All positive, so that the ratio measures how sums are kept and not how much they cancel.
    grad, table = torch.rand(indices.shape[0], value_dim), torch.rand(SLOTS, value_dim)
    weights = torch.rand(indices.shape)
    with poisoned_memory():
        dots, rows = gather_dot(indices, grad, table), scatter_rows(indices, weights, grad, SLOTS)
    assert_close(dots, reference.gather_dot(indices, grad.double(), table.double()), 1e-6)
    exact = reference.scatter_rows(indices, weights.double(), grad.double(), SLOTS)
    assert_close(rows, exact, 1e-6)


def test_narrow_indices_and_strided_tensors_are_taken() -> None:
    indices, weights = draw(7, 20).T, torch.rand(7, 20).T
    grad, table = torch.randn(5, 20).T, torch.randn(5, SLOTS).T
    dots = gather_dot(indices.contiguous(), grad.contiguous(), table.contiguous())
    rows = scatter_rows(indices.contiguous(), weights.contiguous(), grad.contiguous(), SLOTS)
    for typed in (indices, indices.int()):
        assert torch.equal(gather_dot(typed, grad, table), dots)
        assert torch.equal(scatter_rows(typed, weights, grad, SLOTS), rows)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("look_ups", ["uniform", "one row hit by all", "zipf"])
def test_any_number_of_threads_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, look_ups: str
) -> None:
    monkeypatch.setattr(cpu, "_LEAST_ELEMENTS", 1)
    indices = LOOK_UPS[look_ups]
    weights, grad = torch.randn(indices.shape), torch.randn(indices.shape[0], 96)
    table, results = torch.randn(SLOTS, 96), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        dots = gather_dot(indices, grad, table)
        results.append((dots, scatter_rows(indices, weights, grad, SLOTS)))
    for dots, rows in results[1:]:
        assert torch.equal(dots, results[0][0])
        assert torch.equal(rows, results[0][1])


@pytest.mark.parametrize("bad", [-1, SLOTS])
def test_an_index_out_of_range_is_refused(bad: int) -> None:
    indices, grad = torch.tensor([[0, bad]]), torch.ones(1, 3)
    with pytest.raises(IndexError, match=rf"\[0, {SLOTS}\)"):
        gather_dot(indices, grad, torch.ones(SLOTS, 3))
    with pytest.raises(IndexError, match=rf"\[0, {SLOTS}\)"):
        scatter_rows(indices, torch.ones(1, 2), grad, SLOTS)


def test_tables_of_more_than_2_to_the_31_elements_are_addressed_right() -> None:
    slots, width = 2**21 + 1, 1024  # 8 GiB of which only three rows are ever touched
    table = torch.empty(slots, width)
    rows = torch.tensor([[0, 1, slots - 1]])
    table[rows[0]] = torch.tensor([[1.0], [2.0], [3.0]]).expand(3, width)
    dots = gather_dot(rows, torch.ones(1, width), table)
    assert dots.tolist() == [[1.0 * width, 2.0 * width, 3.0 * width]]


@pytest.mark.parametrize("op_name", ["gather_dot", "scatter_rows"])
def test_without_numba_stock_torch_does_the_work(
    monkeypatch: pytest.MonkeyPatch, op_name: str
) -> None:
    monkeypatch.delenv(dispatch.VARIABLE)
    monkeypatch.setattr(dispatch, "is_installed", lambda package: package != "numba")
    call = dispatch.Call(device="cpu", dtype=torch.float32, width=8)
    choice = dispatch.explain(op_name, call)
    assert choice.implementation.word == "torch"
    assert choice.passed_over["numba"] == "numba is not installed"
