"""The row ops: every implementation against the definition in fp64."""

from itertools import chain

import pytest
import torch
from torch import Tensor

from archspec.kernels import dispatch
from archspec.kernels.row_gradient import Lookups, RowGradient
from archspec.kernels.row_optimizer import (
    op,
    reference,
    row_adagrad_,
    row_adam_,
    row_sgd_,
    row_square_norms,
    stock,
    sum_rows,
)
from archspec.kernels.row_optimizer.rounding import mix_seed, random_bits, round_stochastically
from archspec.testing.kernels import assert_close, count_flops, error_ratio, poisoned_memory

SLOTS = 60
WIDTHS = (1, 3, 96, 100, 768, 1000)
MASK = 0xFFFFFFFF
CALL = dispatch.Call(device="cpu", dtype=torch.bfloat16, width=100)
RUNNABLE = [row for row in dispatch.IMPLEMENTATIONS["row_sgd_"] if row.refusal(CALL) is None]
RULES = ("adam", "adam without a first moment", "rowwise adam", "rowwise adagrad", "sgd")


def draw(name: str, tokens: int = 40, picks: int = 5) -> Tensor:
    match name:
        case "few":
            return torch.randint(0, SLOTS, (4, picks))
        case "hot row":
            hot = torch.randint(0, SLOTS, (tokens * 10, picks))
            hot[:, 0] = 7
            return hot
        case "one row":
            return torch.full((tokens * 10, picks), 7)
        case "all rows":
            return torch.arange(SLOTS * 2).remainder(SLOTS).view(-1, picks)
        case "most rows":
            return torch.arange(SLOTS - 5).view(-1, picks)
        case "no look-ups":
            return torch.zeros(0, picks, dtype=torch.int64)
    raise AssertionError(name)


LOOK_UPS = ("few", "hot row", "one row", "all rows", "most rows", "no look-ups")


def group(indices: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Lookups:
    gradient = RowGradient(slots=SLOTS, width=width)
    # All positive, so that the ratio measures how sums are kept and not how much they cancel.
    grads = torch.rand(indices.shape[0], width, dtype=torch.float64).to(dtype)
    gradient.append(indices, torch.rand(indices.shape), grads)
    return gradient.grouped()


def double(lookups: Lookups) -> Lookups:
    return lookups._replace(weights=lookups.weights.double(), grads=lookups.grads.double())


def new_tensors(rule: str, width: int, dtype: torch.dtype) -> list[Tensor]:
    """The table and the state of a rule, somewhere in the middle of a training."""
    wide = torch.promote_types(dtype, torch.float32)
    table = torch.randn(SLOTS, width).to(dtype)
    rows, full = torch.rand(SLOTS, dtype=wide), torch.rand(SLOTS, width, dtype=wide)
    match rule:
        case "adam":
            return [table, torch.randn(SLOTS, width, dtype=wide), full]
        case "adam without a first moment":
            return [table, torch.zeros(0, width, dtype=wide), full]
        case "rowwise adam":
            return [table, torch.randn(SLOTS, width, dtype=wide), rows]
        case "rowwise adagrad":
            return [table, rows]
    return [table]


def update(module, rule: str, tensors: list[Tensor], lookups: Lookups, seed: int = 3) -> None:
    arguments = (*tensors, *lookups, torch.tensor(0.5, dtype=lookups.weights.dtype))
    if "adam" in rule:
        beta1 = 0.0 if "without" in rule else 0.9
        betas = {"beta1": beta1, "beta2": 0.99}
        module.row_adam_(*arguments, lr=0.01, **betas, eps=1e-8, step=3, seed=seed)
    elif rule == "rowwise adagrad":
        module.row_adagrad_(*arguments, lr=0.01, eps=1e-8, seed=seed)
    else:
        module.row_sgd_(*arguments, lr=0.01, seed=seed)


def clones(tensors: list[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    return [tensor.to(dtype or tensor.dtype, copy=True) for tensor in tensors]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("look_ups", LOOK_UPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_sums_match_the_reference(look_ups: str, width: int, dtype: torch.dtype) -> None:
    _, *lookups = group(draw(look_ups), width, dtype)
    exact = [v.double() if v.is_floating_point() else v for v in lookups]
    limit = 1e-13 if dtype == torch.float64 else 1e-6
    sums = sum_rows(*lookups)
    assert sums.dtype == torch.promote_types(dtype, torch.float32)
    assert_close(sums, reference.sum_rows(*exact), limit)
    assert_close(row_square_norms(*lookups), reference.row_square_norms(*exact), limit)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("look_ups", LOOK_UPS)
@pytest.mark.parametrize("rule", RULES)
def test_updates_match_the_reference(rule: str, look_ups: str, width: int) -> None:
    lookups = group(draw(look_ups), width)
    before = new_tensors(rule, width, torch.float32)
    tensors, exact = clones(before), clones(before, torch.float64)
    update(op, rule, tensors, lookups)
    update(reference, rule, exact, double(lookups))
    untouched = torch.ones(SLOTS, dtype=torch.bool).index_fill(0, lookups.rows, False)
    for tensor, value, old in zip(tensors, exact, before, strict=True):
        assert_close(tensor, value, 1e-6)
        if len(tensor) == SLOTS:
            assert torch.equal(tensor[untouched], old[untouched])


@pytest.mark.parametrize("rule", RULES)
def test_updates_in_fp64_match_to_fp64(rule: str) -> None:
    lookups = double(group(draw("hot row"), 7))
    tensors = new_tensors(rule, 7, torch.float64)
    exact = clones(tensors)
    update(op, rule, tensors, lookups)
    update(reference, rule, exact, lookups)
    for tensor, value in zip(tensors, exact, strict=True):
        assert_close(tensor, value, 1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", RULES)
def test_narrow_tables_are_rounded_once(rule: str, dtype: torch.dtype) -> None:
    lookups = group(draw("most rows"), 100, dtype)
    tensors = new_tensors(rule, 100, dtype)
    exact = clones(tensors, torch.float64)
    update(op, rule, tensors, lookups)
    update(reference, rule, exact, double(lookups))
    # Stochastic rounding errs by up to a whole last place, 2^-8 for bf16.
    assert_close(tensors[0], exact[0], 2**-8)
    for state, value in zip(tensors[1:], exact[1:], strict=True):
        assert_close(state, value, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("look_ups", ["hot row", "few", "most rows"])
@pytest.mark.parametrize("rule", RULES)
def test_the_paths_agree_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, rule: str, look_ups: str, dtype: torch.dtype
) -> None:
    lookups, before = group(draw(look_ups), 5), new_tensors(rule, 5, dtype)
    results = []
    for blocks_from in (0.0, 2.0):
        monkeypatch.setattr(stock, "BLOCKS_FROM", blocks_from)
        for elements in (5 * 7, 1 << 18):
            monkeypatch.setattr(stock, "_CHUNK_ELEMENTS", elements)
            results.append(clones(before))
            update(stock, rule, results[-1], lookups)
    for tensors in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(tensors, results[0], strict=True))


@pytest.mark.parametrize(
    ("distinct", "path"), [(0, "rows"), (49, "rows"), (50, "blocks"), (100, "blocks")]
)
def test_the_path_follows_from_the_touched_share(distinct: int, path: str) -> None:
    assert stock.choose_path(distinct, 100) == path


@pytest.mark.parametrize("rule", RULES)
def test_updates_are_bitwise_reproducible(rule: str) -> None:
    lookups, before = group(draw("hot row"), 96), new_tensors(rule, 96, torch.bfloat16)
    first = clones(before)
    update(op, rule, first, lookups)
    for _ in range(10):
        again = clones(before)
        update(op, rule, again, lookups)
        assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))


@pytest.mark.parametrize("size", [4096, 65536])
def test_a_hot_row_stays_accurate(size: int) -> None:
    _, *lookups = group(torch.full((size, 1), 7), 3)
    exact = [v.double() if v.is_floating_point() else v for v in lookups]
    assert error_ratio(sum_rows(*lookups), reference.sum_rows(*exact)) < 1e-6


def numbers_of(values: Tensor) -> list[int]:
    return values.view(torch.int32).long().bitwise_and_(MASK).flatten().tolist()


def mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x85EBCA6B & MASK
    x ^= x >> 13
    x = x * 0xC2B2AE35 & MASK
    return x ^ x >> 16


def test_the_generator_is_the_documented_one() -> None:
    rows, seed, width = [0, 1, 77, 2**31 + 5, 2**32 + 1], 0xDEADBEEF, 4
    expected = [
        [mix((mix(mix((row + 0x9E3779B9) & MASK) ^ seed) + c * 0x9E3779B9) & MASK) >> 16 for c in r]
        for row, r in zip(rows, [range(width)] * len(rows), strict=True)
    ]
    assert random_bits(torch.tensor(rows), width, seed).tolist() == expected
    values = torch.randn(len(rows), width)
    rounded = round_stochastically(values, torch.tensor(rows), seed)
    by_hand = [
        (value + chance) & 0xFFFF0000
        for value, chance in zip(numbers_of(values), chain(*expected), strict=True)
    ]
    assert numbers_of(rounded.float()) == by_hand


def test_the_rounding_is_unbiased_and_goes_to_a_neighbour() -> None:
    value, rows = 1.0 + 0.3 * 2**-7, torch.arange(1000)
    rounded = round_stochastically(torch.full((1000, 100), value), rows, seed=1).double()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 2**-7}
    share = float((rounded > 1).double().mean())
    # 100,000 draws have a standard deviation of 0.00145.
    assert abs(share - 0.3) < 4 * 0.00145
    by_row, by_column = (rounded > 1).double().mean(1), (rounded > 1).double().mean(0)
    assert by_row.std().item() == pytest.approx((0.3 * 0.7 / 100) ** 0.5, rel=0.1)
    assert by_column.std().item() == pytest.approx((0.3 * 0.7 / 1000) ** 0.5, rel=0.3)


def test_rounding_leaves_alone_what_is_exact_or_not_finite() -> None:
    special = [0.0, -0.0, 1.0, -3.0, torch.inf, -torch.inf, torch.finfo(torch.bfloat16).max]
    values = torch.tensor([special])
    assert torch.equal(round_stochastically(values, torch.tensor([5]), 9).float(), values)
    nan = round_stochastically(torch.full((1, 64), torch.nan), torch.tensor([5]), 9)
    assert nan.isnan().all()


def test_small_updates_of_a_bf16_table_add_up() -> None:
    indices, width = torch.arange(SLOTS).view(-1, 1), 100
    gradient = RowGradient(slots=SLOTS, width=width)
    gradient.append(indices, torch.ones(indices.shape), torch.ones(SLOTS, width))
    table = torch.ones(SLOTS, width, dtype=torch.bfloat16)
    for step in range(100):
        row_sgd_(table, *gradient.grouped(), torch.tensor(1.0), lr=1e-4, seed=mix_seed(0, step))
    # To the nearest, 1 - 1e-4 would be 1 every time; the mean of 6,000 walks errs by 1e-4.
    assert table.double().mean().item() == pytest.approx(1 - 100 * 1e-4, abs=4e-4)


@pytest.mark.parametrize("implementation", RUNNABLE, ids=lambda item: item.word)
def test_every_implementation_rounds_alike(implementation: dispatch.Implementation) -> None:
    gradient = RowGradient(slots=SLOTS, width=100)
    # Steps of 2^-12, so that nothing but the rounding to bf16 rounds.
    steps = torch.randint(0, 64, (SLOTS, 100)) * 2.0**-12
    gradient.append(torch.randint(0, SLOTS, (SLOTS, 1)), torch.ones(SLOTS, 1), steps)
    table = torch.ones(SLOTS, 100, dtype=torch.bfloat16)
    exact = table.clone()
    arguments = (*gradient.grouped(), torch.tensor(1.0))
    dispatch.load("row_sgd_", implementation)(table, *arguments, lr=1.0, seed=2**31 + 11)
    reference.row_sgd_(exact, *arguments, lr=1.0, seed=2**31 + 11)
    assert torch.equal(table, exact)
    assert table.unique().numel() > 2


def test_sums_read_no_uninitialised_memory() -> None:
    for look_ups in LOOK_UPS:
        _, *lookups = group(draw(look_ups), 7)
        clean = sum_rows(*lookups), row_square_norms(*lookups)
        with poisoned_memory():
            poisoned = sum_rows(*lookups), row_square_norms(*lookups)
        assert all(torch.equal(a, b) for a, b in zip(clean, poisoned, strict=True))


def test_tables_of_more_than_2_to_the_31_elements_are_addressed_right() -> None:
    slots, width = 2**21 + 1, 1024  # 4 GiB that nobody touches but for three rows
    table = torch.empty(slots, width, dtype=torch.bfloat16)
    gradient = RowGradient(slots=slots, width=width)
    rows = torch.tensor([[0, 1, slots - 1]])
    table[rows[0]] = 1.0
    gradient.append(rows, torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, width))
    row_sgd_(table, *gradient.grouped(), torch.tensor(1.0), lr=1.0, seed=0)
    assert torch.equal(
        table[rows[0]], torch.tensor([[0.0], [-1.0], [-2.0]]).expand(3, width).bfloat16()
    )


def test_seeds_differ_by_every_number_and_their_order() -> None:
    seeds = {mix_seed(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000


@pytest.mark.parametrize(
    ("function", "rule", "settings"),
    [
        (row_adam_, "adam", {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "step": 1}),
        (row_adagrad_, "rowwise adagrad", {"eps": 1e-8}),
        (row_sgd_, "sgd", {}),
    ],
)
def test_opcheck(function, rule: str, settings: dict[str, float]) -> None:
    arguments = (*new_tensors(rule, 3, torch.float32), *group(draw("few"), 3), torch.tensor(1.0))
    torch.library.opcheck(function, arguments, {**settings, "lr": 0.1, "seed": 1})


def test_opcheck_of_sums() -> None:
    _, *lookups = group(draw("few"), 3)
    torch.library.opcheck(sum_rows, tuple(lookups))
    torch.library.opcheck(row_square_norms, tuple(lookups))


def test_flops_are_counted_by_look_up() -> None:
    rows, *lookups = group(draw("few"), 3)
    assert count_flops(sum_rows, tuple(lookups)) == 2 * 20 * 3
    assert count_flops(row_square_norms, tuple(lookups)) == 2 * (20 + len(rows)) * 3
