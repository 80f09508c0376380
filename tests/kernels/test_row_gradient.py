import copy

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.embedding_bag import reference
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_sums import cpu
from archspec.testing.kernels import assert_close, error_ratio

SLOTS, WIDTH = 30, 5
Entry = tuple[Tensor, Tensor, Tensor]


def draw(tokens: int, picks: int, dtype: torch.dtype = torch.float64) -> Entry:
    indices = torch.randint(0, SLOTS, (tokens, picks))
    return indices, torch.randn(tokens, picks, dtype=dtype), torch.randn(tokens, WIDTH, dtype=dtype)


def collect(*entries: Entry) -> RowGradient:
    gradient = RowGradient(slots=SLOTS, width=WIDTH)
    for entry in entries:
        gradient.append(*entry)
    return gradient


def dense(*entries: Entry) -> Tensor:
    total = torch.zeros(SLOTS, WIDTH, dtype=torch.float64)
    for indices, weights, grads in entries:
        total += reference.scatter_rows(indices, weights.double(), grads.double(), SLOTS)
    return total


CASES = {
    "one entry": [(9, 4)],
    "equal picks": [(9, 4), (3, 4), (1, 4)],
    "unequal picks": [(9, 4), (3, 2), (2, 1)],
    "an empty entry": [(9, 4), (0, 4), (2, 3)],
    "empty entries only": [(0, 4), (3, 0)],
}


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("case", CASES)
def test_entries_add_up(case: str, index_dtype: torch.dtype) -> None:
    entries = [draw(*sizes) for sizes in CASES[case]]
    gradient, exact = collect(*entries), dense(*entries)
    assert gradient.num_lookups == sum(tokens * picks for tokens, picks in CASES[case])
    assert_close(gradient.to_dense(), exact, 1e-13)
    rows, values = gradient.coalesce()
    touched = torch.cat([indices.flatten() for indices, _, _ in entries]).unique()
    assert torch.equal(rows, touched)
    assert_close(values, exact[touched], 1e-13)
    assert_close(gradient.square_norm(), exact.square().sum(), 1e-13)


def test_groups_are_sorted_by_row_and_then_by_age() -> None:
    first = (torch.tensor([[7, 2], [2, 2]]), torch.tensor([[1.0, 2], [3, 4]]), torch.ones(2, WIDTH))
    second = (torch.tensor([[2], [0]], dtype=torch.int32), torch.tensor([[5.0], [6]]), first[2])
    lookups = collect(first, second).grouped()
    assert lookups.rows.tolist() == [0, 2, 7]
    assert lookups.starts.tolist() == [0, 1, 5, 6]
    assert lookups.weights.tolist() == [6, 2, 3, 4, 5, 1]
    assert lookups.tokens.tolist() == [3, 0, 1, 1, 2, 0]
    dtypes = [lookups.rows.dtype, lookups.starts.dtype, lookups.tokens.dtype]
    assert dtypes == [torch.int64, torch.int64, torch.int32]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_counting_groups_as_sorting_does(
    monkeypatch: pytest.MonkeyPatch, index_dtype: torch.dtype, case: str
) -> None:
    found = []
    entries = [draw(*sizes, torch.float32) for sizes in CASES[case]]
    for word in ("numba", "torch"):
        monkeypatch.setenv(dispatch.VARIABLE, word)
        gradient = RowGradient(slots=SLOTS, width=WIDTH)
        for indices, weights, grads in entries:
            owned = indices % 3 > 0
            gradient.append(indices.to(index_dtype), weights, grads, owned)
        found.append(gradient.grouped())
    for counted, ordered in zip(*found, strict=True):
        assert counted.dtype == ordered.dtype
        assert torch.equal(counted, ordered)


def test_few_look_ups_of_many_rows_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("counted")

    monkeypatch.setattr(cpu, "group", refuse)
    gradient = RowGradient(slots=10_000, width=WIDTH)
    gradient.append(*draw(9, 4, torch.float32))
    assert gradient.grouped().rows.numel() <= SLOTS


@pytest.mark.parametrize("bad", [-1, SLOTS])
def test_counting_refuses_what_is_out_of_range(monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "numba")
    indices, weights, grads = draw(9, 4, torch.float32)
    indices[3, 1] = bad
    with pytest.raises(IndexError, match=rf"\[0, {SLOTS}\)"):
        collect((indices, weights, grads)).grouped()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_keep_their_dtype_and_sums_are_wide(dtype: torch.dtype) -> None:
    entries = [draw(9, 4, dtype), draw(5, 4, dtype)]
    gradient = collect(*entries)
    assert gradient.grouped().grads.dtype == dtype
    assert gradient.grouped().weights.dtype == gradient.to_dense().dtype == torch.float32
    assert_close(gradient.to_dense(), dense(*entries), 1e-6)


def test_readers_of_several_dtypes_meet_in_the_widest() -> None:
    entries = [draw(9, 4, torch.bfloat16), draw(5, 4, torch.float32)]
    assert collect(*entries).grouped().grads.dtype == torch.float32
    assert_close(collect(*entries).to_dense(), dense(*entries), 1e-6)


def test_the_look_ups_are_grouped_once() -> None:
    gradient = collect(draw(9, 4))
    assert gradient.grouped() is gradient.grouped()
    before = gradient.grouped()
    gradient.append(*draw(2, 4))
    assert gradient.grouped() is not before


def test_the_scale_waits_and_binds_only_what_was_there() -> None:
    first, second = draw(9, 4), draw(3, 4)
    gradient = collect(first)
    gradient.scale_(0.5)
    gradient.scale_(torch.tensor(0.5))
    assert gradient.scale.item() == 0.25
    assert_close(gradient.to_dense(), 0.25 * dense(first), 1e-13)
    assert_close(gradient.square_norm(), (0.25 * dense(first)).square().sum(), 1e-13)
    gradient.append(*second)
    assert gradient.scale.item() == 1
    assert_close(gradient.to_dense(), 0.25 * dense(first) + dense(second), 1e-13)


def test_clearing_forgets_look_ups_and_scale() -> None:
    gradient = collect(draw(9, 4))
    gradient.scale_(0.5)
    gradient.clear()
    assert gradient.is_empty
    gradient.append(*draw(2, 4))
    assert gradient.scale.item() == 1


def test_an_entry_without_look_ups_is_a_gradient_of_zero() -> None:
    gradient = collect(draw(0, 4))
    assert not gradient.is_empty
    assert gradient.num_lookups == 0
    assert not gradient.to_dense().any()


def test_a_copy_shares_nothing() -> None:
    gradient = collect(draw(9, 4))
    clone = copy.deepcopy(gradient)
    clone.append(*draw(3, 4))
    clone.entries[0].grads.zero_()
    assert len(gradient.entries) == 1
    assert gradient.entries[0].grads.any()


def test_the_norm_of_many_look_ups_is_accurate_in_fp32() -> None:
    indices, weights, grads = draw(4096, 16, torch.float32)
    entry = (indices % 3, weights.abs(), grads.abs())
    exact = dense(entry).square().sum()
    assert error_ratio(collect(entry).square_norm(), exact) < 1e-6


def test_what_does_not_fit_is_refused() -> None:
    indices, weights, grads = draw(9, 4)
    gradient = collect()
    with pytest.raises(ValueError, match=r"\[9, 4\], \[9, 3\] and \[9, 5\]"):
        gradient.append(indices, weights[:, 1:], grads)
    with pytest.raises(ValueError, match=r"\[tokens, 5\]"):
        gradient.append(indices, weights, grads[:, 1:])
    with pytest.raises(ValueError, match=r"not torch.float64"):
        gradient.append(indices.double(), weights, grads)
    with pytest.raises(ValueError, match="check is_empty first"):
        gradient.grouped()
    for bad in (-1, SLOTS):
        with pytest.raises(IndexError, match=rf"\[0, {SLOTS}\)"):
            collect((torch.full_like(indices, bad), weights, grads)).grouped()


def test_idle_tokens_leave_no_rows_and_no_change() -> None:
    (indices, weights, grads), other = draw(9, 4), draw(3, 2)
    grads[[0, 5]] = 0.0
    weights[7] = 0.0
    gradient, exact = (
        collect((indices, weights, grads), other),
        dense((indices, weights, grads), other),
    )
    gradient.scale_(0.5)
    gradient.drop_idle()
    busy = torch.tensor([t not in (0, 5, 7) for t in range(9)])
    touched = torch.cat([indices[busy].flatten(), other[0].flatten()]).unique()
    rows, _ = gradient.coalesce()
    assert torch.equal(rows, touched)
    assert_close(gradient.to_dense(), exact / 2, 1e-13)
    assert torch.equal(rows, gradient.to_dense().any(1).nonzero()[:, 0])


def test_a_gradient_of_idle_tokens_alone_is_there_and_empty() -> None:
    indices, weights, grads = draw(4, 2)
    gradient = collect((indices, weights, grads * 0))
    gradient.drop_idle()
    assert not gradient.is_empty
    assert gradient.num_lookups == 0
    assert not gradient.to_dense().any()
