"""Run by ``test_triton_row_optimizer.py``, in a process where Triton interprets its kernels."""

import numpy as np
import pytest
import torch
import triton.language as tl
from torch import Tensor

from archspec.kernels import row_optimizer as ops
from archspec.kernels.row_optimizer import reference
from archspec.kernels.row_sums import gpu as row_sums
from archspec.testing.kernels import assert_close, poisoned_memory

SLOTS, TOKENS = 10, 6
# Around a segment of 4 look-ups and a group of 4 segments.
COUNTS = torch.tensor([1, 4, 5, 17])
ROWS = torch.tensor([0, 3, 4, SLOTS - 1])
RULES = ("adam", "adam without a first moment", "rowwise adam", "rowwise adagrad", "sgd")
UPDATES = [
    *((rule, torch.float32, torch.float32) for rule in RULES),
    *((rule, torch.bfloat16, torch.float32) for rule in RULES),
    ("rowwise adam", torch.bfloat16, torch.bfloat16),
    ("adam", torch.float16, torch.float16),
]


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_sums, "SEGMENT", tl.constexpr(4))
    monkeypatch.setattr(row_sums, "GROUP", tl.constexpr(4))
    with poisoned_memory():
        yield


def draw(width: int, dtype: torch.dtype, counts: Tensor = COUNTS) -> tuple[Tensor, ...]:
    """Draw starts, tokens, weights and grads; all positive, as sums that cancel lose digits."""
    starts = torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))
    tokens = torch.randint(0, TOKENS, (int(starts[-1]),), dtype=torch.int32)
    return starts, tokens, torch.rand(tokens.shape), torch.rand(TOKENS, width).to(dtype)


def tensors_of(rule: str, width: int, dtype: torch.dtype) -> list[Tensor]:
    table = torch.randn(SLOTS, width).to(dtype)
    moments = {
        "adam": [torch.randn(SLOTS, width), torch.rand(SLOTS, width)],
        "adam without a first moment": [torch.zeros(0, width), torch.rand(SLOTS, width)],
        "rowwise adam": [torch.randn(SLOTS, width), torch.rand(SLOTS)],
        "rowwise adagrad": [torch.rand(SLOTS)],
        "sgd": [],
    }
    return [table, *moments[rule]]


def update(
    module, rule: str, tensors: list[Tensor], look_ups, seed: int = 0xFFFF_FFFF_1234
) -> None:
    arguments = (*tensors, ROWS, *look_ups, torch.tensor(0.3, dtype=look_ups[2].dtype))
    if "adam" in rule:
        beta1 = 0.0 if "without" in rule else 0.9
        settings = {"lr": 0.1, "beta1": beta1, "beta2": 0.99, "eps": 1e-8, "step": 3}
        module.row_adam_(*arguments, **settings, seed=seed)
    elif rule == "rowwise adagrad":
        module.row_adagrad_(*arguments, lr=0.1, eps=1e-8, seed=seed)
    else:
        module.row_sgd_(*arguments, lr=0.1, seed=seed)


def double(*tensors: Tensor) -> list[Tensor]:
    return [t.double() if t.is_floating_point() else t.clone() for t in tensors]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 3, 96, 100, 768, 1000, 2048])
def test_sums_and_norms_match_the_reference(width: int, dtype: torch.dtype) -> None:
    look_ups = draw(width, dtype, COUNTS if width == 96 else COUNTS[:2])
    exact = double(*look_ups)
    sums = ops.sum_rows(*look_ups)
    assert sums.dtype == torch.float32
    assert_close(sums, reference.sum_rows(*exact), 1e-6)
    assert_close(ops.row_square_norms(*look_ups), reference.row_square_norms(*exact), 1e-6)


@pytest.mark.parametrize(("rule", "dtype", "grad_dtype"), UPDATES)
def test_updates_match_the_reference(rule: str, dtype, grad_dtype) -> None:
    look_ups, tensors = draw(20, grad_dtype), tensors_of(rule, 20, dtype)
    old, same, exact = tensors[0].clone(), [t.clone() for t in tensors], double(*tensors)
    update(ops, rule, tensors, look_ups)
    update(reference, rule, exact, double(*look_ups))
    update(reference, rule, same, look_ups)
    for state, value in zip(tensors[1:], exact[1:], strict=True):
        assert_close(state, value, 1e-6)
    if dtype == torch.bfloat16:
        # Rounded by chance, so the reference in bf16 is what to be like: bit by bit, but where sums
        # differ in the last place and round to two neighbours.
        assert (tensors[0] != same[0]).sum() <= 1
    assert_close(tensors[0], exact[0], 1e-6 if dtype == torch.float32 else 2**-7)
    untouched = torch.ones(SLOTS, dtype=torch.bool).index_fill(0, ROWS, False)
    assert torch.equal(tensors[0][untouched], old[untouched])


def test_what_is_not_finite_stays_so() -> None:
    look_ups = draw(6, torch.float32)
    table = torch.ones(SLOTS, 6, dtype=torch.bfloat16)
    table[0], table[3], table[4] = torch.inf, -torch.inf, torch.nan
    update(ops, "sgd", [table], look_ups)
    assert (table[0] == torch.inf).all()
    assert (table[3] == -torch.inf).all()
    assert table[4].isnan().all()
    assert table[ROWS[3]].isfinite().all()


def test_the_sum_of_a_row_does_not_depend_on_other_rows() -> None:
    starts, tokens, weights, grads = draw(6, torch.float32)
    sums = ops.sum_rows(starts, tokens, weights, grads)
    first, last = starts[3], starts[4]
    alone = (starts[3:] - first, tokens[first:last], weights[first:last], grads)
    assert torch.equal(ops.sum_rows(*alone)[0], sums[3])


def test_nothing_is_touched() -> None:
    look_ups = draw(6, torch.float32, COUNTS[:0])
    assert ops.sum_rows(*look_ups).shape == (0, 6)
    assert ops.row_square_norms(*look_ups).shape == (0,)
    table = torch.ones(SLOTS, 6)
    ops.row_sgd_(table, ROWS[:0], *look_ups, torch.ones(()), lr=0.1, seed=0)
    assert table.eq(1).all()


def test_a_table_that_is_not_contiguous_is_refused() -> None:
    table = torch.ones(SLOTS, 12)[:, ::2]
    with pytest.raises(ValueError, match=r"row_sgd_: table .* strides are \(12, 2\)"):
        update(ops, "sgd", [table], draw(6, torch.float32))


def test_more_look_ups_than_can_be_numbered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_sums, "MAX_LOOK_UPS", 26)
    with pytest.raises(ValueError, match=r"at most 26 look-ups .* there are 27; split the batch"):
        ops.sum_rows(*draw(6, torch.float32))


def test_rows_beyond_int32_are_addressed_right() -> None:
    slots = 2**21 + 8  # of 1,024: more than 2^31 elements
    # Unlike torch's, these zeros take memory only where they are touched.
    table = torch.from_numpy(np.zeros((slots, 1024), dtype=np.float16))
    rows = torch.tensor([3, 2**21, slots - 1])
    starts, tokens = torch.arange(4), torch.zeros(3, dtype=torch.int32)
    look_ups = (starts, tokens, torch.tensor([1.0, 2.0, 3.0]), torch.ones(1, 1024))
    ops.row_sgd_(table, rows, *look_ups, torch.ones(()), lr=1.0, seed=0)
    expected = torch.tensor([-1.0, -2.0, -3.0]).half()[:, None].expand(-1, 1024)
    assert torch.equal(table[rows], expected)
    assert table[2].eq(0).all()
