"""The numba kernels of the row ops; what every implementation has to do stands in test_ops.py."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.row_gradient import Lookups, RowGradient
from archspec.kernels.row_optimizer import cpu, op, reference
from archspec.testing.kernels import assert_close, error_ratio

SLOTS = 200
RULES = ("adam", "adam without a first moment", "rowwise adam", "rowwise adagrad", "sgd")
LOOK_UPS = {
    "uniform": torch.randint(0, SLOTS, (40, 5), generator=torch.Generator().manual_seed(0)),
    "one row hit by all": torch.full((300, 4), 17),
    "one pick of the last row": torch.tensor([[SLOTS - 1]]),
    "no look-ups": torch.zeros(0, 5, dtype=torch.int64),
}


@pytest.fixture(autouse=True)
def _numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.VARIABLE, "numba")


@pytest.fixture
def _threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cpu, "_LEAST_WORK", 1)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def group(indices: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Lookups:
    gradient = RowGradient(slots=SLOTS, width=width)
    # All positive, so that the ratio measures how sums are kept and not how much they cancel.
    grads = torch.rand(indices.shape[0], width).to(dtype)
    gradient.append(indices, torch.rand(indices.shape), grads)
    return gradient.grouped()


def double(lookups: Lookups) -> Lookups:
    return lookups._replace(weights=lookups.weights.double(), grads=lookups.grads.double())


def new_tensors(rule: str, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    table = torch.randn(SLOTS, width).to(dtype)
    first, second = torch.randn(SLOTS, width), torch.rand(SLOTS, width)
    return {
        "adam": [table, first, second],
        "adam without a first moment": [table, first[:0], second],
        "rowwise adam": [table, first, second[:, 0].contiguous()],
        "rowwise adagrad": [table, second[:, 0].contiguous()],
        "sgd": [table],
    }[rule]


def update(module, rule: str, tensors: list[Tensor], lookups: Lookups) -> None:
    arguments = (*tensors, *lookups, torch.tensor(0.5, dtype=lookups.weights.dtype))
    if "adam" in rule:
        betas = {"beta1": 0.0 if "without" in rule else 0.9, "beta2": 0.99}
        module.row_adam_(*arguments, lr=0.01, **betas, eps=1e-8, step=3, seed=7)
    elif rule == "rowwise adagrad":
        module.row_adagrad_(*arguments, lr=0.01, eps=1e-8, seed=7)
    else:
        module.row_sgd_(*arguments, lr=0.01, seed=7)


@pytest.mark.parametrize("width", [1, 3, 96, 100, 768, 1000, 1536, 2048])
@pytest.mark.parametrize("look_ups", LOOK_UPS)
def test_updates_and_sums_match_the_reference(look_ups: str, width: int) -> None:
    lookups = group(LOOK_UPS[look_ups], width)
    exact_lookups = double(lookups)
    for rule in RULES:
        tensors = new_tensors(rule, width)
        exact = [tensor.double() for tensor in tensors]
        update(op, rule, tensors, lookups)
        update(reference, rule, exact, exact_lookups)
        for tensor, value in zip(tensors, exact, strict=True):
            assert_close(tensor, value, 1e-6)
    assert_close(op.sum_rows(*lookups[1:]), reference.sum_rows(*exact_lookups[1:]), 1e-6)
    norms, exact_norms = (
        f(*lookups[1:]) for f in (op.row_square_norms, reference.row_square_norms)
    )
    assert error_ratio(norms, exact_norms) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_only_touched_rows_change(rule: str, dtype: torch.dtype) -> None:
    lookups, tensors = group(LOOK_UPS["uniform"], 100, dtype), new_tensors(rule, 100, dtype)
    before = [tensor.clone() for tensor in tensors]
    update(op, rule, tensors, lookups)
    is_touched = torch.zeros(SLOTS, dtype=torch.bool).index_fill(0, lookups.rows, True)
    for tensor, old in zip(tensors, before, strict=True):
        if len(tensor):
            # A bf16 row may come out as it was, by chance.
            has_changed = (tensor != old).view(SLOTS, -1).any(1)
            assert has_changed.any()
            assert not has_changed[~is_touched].any()


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("look_ups", LOOK_UPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_threads_gives_the_same_bits(look_ups: str, dtype: torch.dtype) -> None:
    lookups = group(LOOK_UPS[look_ups], 33, dtype)
    for rule in RULES:
        before, results = new_tensors(rule, 33, dtype), []
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            tensors = [tensor.clone() for tensor in before]
            update(op, rule, tensors, lookups)
            results.append(tensors)
        for tensors in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(tensors, results[0], strict=True))


@pytest.mark.usefixtures("_threads")
def test_ranges_have_equal_work_not_equal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    seen: list[list[int]] = []
    monkeypatch.setattr(cpu, "run_ranges", lambda _, bounds: seen.append(bounds))
    counts = torch.tensor([1000, *[1] * 99])
    starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).numpy()
    cpu._run(lambda start, stop: None, starts)
    (bounds,) = seen
    assert (bounds[0], bounds[-1]) == (0, 100)
    first, second = (
        cpu._work_before(starts, b) - cpu._work_before(starts, a)
        for a, b in [(bounds[0], bounds[1]), (bounds[1], bounds[2])]
    )
    assert bounds[1] < 10
    assert first >= 1000
    assert second < 500


def test_gradients_of_another_precision_are_summed_in_fp32() -> None:
    lookups = group(LOOK_UPS["uniform"], 100, torch.bfloat16)
    tensors = new_tensors("adam", 100)
    exact = [tensor.double() for tensor in tensors]
    update(op, "adam", tensors, lookups)
    update(reference, "adam", exact, double(lookups))
    for tensor, value in zip(tensors, exact, strict=True):
        assert_close(tensor, value, 1e-6)


def test_infinities_and_nan_of_a_bf16_table_stay_what_they_are() -> None:
    table = torch.tensor([[torch.inf, -torch.inf, torch.nan, 1.0]], dtype=torch.bfloat16)
    gradient = RowGradient(slots=1, width=4)
    gradient.append(torch.zeros(1, 1).long(), torch.ones(1, 1), torch.zeros(1, 4))
    op.row_sgd_(table, *gradient.grouped(), torch.tensor(1.0), lr=0.1, seed=3)
    assert torch.equal(table[0, [0, 1, 3]].float(), torch.tensor([torch.inf, -torch.inf, 1.0]))
    assert table[0, 2].isnan()
