"""The optimizer over collected gradients, held against dense training of the same table."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from archspec.kernels.collected_bag import collected_bag
from archspec.kernels.embedding_bag import embedding_bag
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer.optimizer import RowOptimizer
from archspec.testing.kernels import assert_close

SLOTS, WIDTH, PICKS = 24, 6, 3
RULES = ("adam", "rowwise_adam", "rowwise_adagrad", "sgd")
F64 = torch.float64


def draw_indices(step: int, slots: int = SLOTS) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randint(0, slots, (4, PICKS), generator=generator)


def every_row(_step: int) -> Tensor:
    return torch.arange(SLOTS).view(-1, PICKS)


class Rig:
    """A table that is trained on look-ups drawn by step."""

    def __init__(self, dtype: torch.dtype = F64, look_ups=draw_indices, **settings) -> None:
        start = torch.randn(SLOTS, WIDTH, generator=torch.Generator().manual_seed(0))
        self.table = nn.Parameter(start.to(dtype))
        self.gradient = RowGradient(slots=SLOTS, width=WIDTH)
        self.optimizer = RowOptimizer([self.table], {self.table: self.gradient}, **settings)
        self.look_ups = look_ups

    def loss(self, step: int, rows: slice = slice(None)) -> Tensor:
        indices = self.look_ups(step)[rows]
        weights = torch.ones(indices.shape).to(self.table.dtype)
        return collected_bag(indices, weights, self.table, self.gradient).square().sum()

    def run(self, steps: range) -> None:
        for step in steps:
            self.optimizer.zero_grad()
            self.loss(step).backward()
            self.optimizer.step()


def dense_run(
    rig: Rig, update: Callable[[Tensor, Tensor, Tensor, int], None], steps: range
) -> Tensor:
    """Train a copy of the rig's table on dense gradients; ``update`` gets the touched rows."""
    table = rig.table.detach().clone()
    for step in steps:
        indices = rig.look_ups(step)
        leaf = table.clone().requires_grad_()
        weights = torch.ones(indices.shape).to(table.dtype)
        embedding_bag(indices, weights, leaf).square().sum().backward()
        touched = torch.zeros(SLOTS, 1, dtype=torch.bool).index_fill(0, indices.flatten(), True)
        update(table, leaf.grad, touched, step)
    return table


@pytest.mark.parametrize(
    ("settings", "make", "look_ups"),
    [
        ({"rule": "sgd", "lr": 0.01}, lambda p: torch.optim.SGD(p, lr=0.01), draw_indices),
        (
            {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3},
            lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-3),
            every_row,
        ),
        (
            {"lr": 0.01, "weight_decay": 0.3},
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
            every_row,
        ),
    ],
)
def test_equals_the_dense_optimizer_of_torch(settings, make, look_ups) -> None:
    rig = Rig(look_ups=look_ups, **settings)
    table = nn.Parameter(rig.table.detach().clone())
    optimizer = make([table])

    def update(held: Tensor, grad: Tensor, _touched: Tensor, _step: int) -> None:
        table.grad = grad
        optimizer.step()
        held.copy_(table.detach())

    exact = dense_run(rig, update, range(5))
    rig.run(range(5))
    assert_close(rig.table, exact, 1e-13)


def test_equals_sparse_adam_on_touched_rows() -> None:
    # SparseAdam adds eps before it corrects the bias, so eps has to vanish.
    rig = Rig(lr=0.01, eps=1e-30)
    table = nn.Parameter(rig.table.detach().clone())
    optimizer = torch.optim.SparseAdam([table], lr=0.01, eps=1e-30)

    def update(held: Tensor, grad: Tensor, touched: Tensor, _step: int) -> None:
        table.grad = (grad * touched).to_sparse(1)
        optimizer.step()
        held.copy_(table.detach())

    exact = dense_run(rig, update, range(5))
    rig.run(range(5))
    assert_close(rig.table, exact, 1e-12)


def test_rowwise_adagrad_equals_its_formula() -> None:
    rig, total = Rig(rule="rowwise_adagrad", lr=0.1, eps=1e-6), torch.zeros(SLOTS, 1, dtype=F64)

    def update(table: Tensor, grad: Tensor, _touched: Tensor, _step: int) -> None:
        total.add_(grad.square().mean(1, keepdim=True))
        table.sub_(0.1 * grad / (total.sqrt() + 1e-6))

    exact = dense_run(rig, update, range(5))
    rig.run(range(5))
    assert_close(rig.table, exact, 1e-13)


def test_rowwise_adam_equals_its_formula() -> None:
    rig = Rig(rule="rowwise_adam", lr=0.1, betas=(0.0, 0.9), eps=1e-6)
    second = torch.zeros(SLOTS, 1, dtype=F64)

    def update(table: Tensor, grad: Tensor, touched: Tensor, step: int) -> None:
        mean = grad.square().mean(1, keepdim=True)
        second.copy_(torch.where(touched, 0.9 * second + 0.1 * mean, second))
        root = (second / (1 - 0.9 ** (step + 1))).sqrt()
        table.sub_(0.1 * grad / (root + 1e-6))

    exact = dense_run(rig, update, range(5))
    rig.run(range(5))
    assert_close(rig.table, exact, 1e-13)


@pytest.mark.parametrize("rule", RULES)
def test_lazy_decay_equals_dense_decoupled_decay(rule: str) -> None:
    rates = [0.1, 0.2, 0.05, 0.0, 0.3, 0.1, 0.1, 0.2]
    rig = Rig(rule=rule, lr=0.1, weight_decay=0.5)
    plain = Rig(rule=rule, lr=0.1)  # the same updates, to a table that is decayed in full

    for step, lr in enumerate(rates):
        for each in (rig, plain):
            each.optimizer.param_groups[0]["lr"] = lr
            each.optimizer.zero_grad()
            each.loss(step).backward()
        with torch.no_grad():
            plain.table *= 1 - lr * 0.5
        rig.optimizer.step()
        plain.optimizer.step()
        assert_close(rig.loss(step + 1), plain.loss(step + 1), 1e-13)  # look-ups see the decay
    owed = (rig.table - plain.table).abs().max()
    assert owed > 0.01
    rig.optimizer.settle_decay()
    assert_close(rig.table, plain.table, 1e-13)
    rig.optimizer.settle_decay(release=True)
    assert_close(rig.table, plain.table, 1e-13)
    assert rig.gradient.decay is None


def test_settling_before_the_first_step_leaves_no_trace() -> None:
    rig = Rig(weight_decay=0.5)
    rig.optimizer.settle_decay(release=True)
    assert rig.optimizer.state_dict()["state"] == {}
    assert rig.optimizer.param_groups[0]["weight_decay"] == 0


def test_owed_decay_reaches_copies_and_new_optimizers() -> None:
    rig = Rig(lr=0.1, weight_decay=0.5)
    rig.run(range(3))
    expected = rig.loss(9)
    clone = copy.deepcopy({"table": rig.table, "gradient": rig.gradient})
    rig.gradient.clear()
    rig.run(range(3, 6))
    assert rig.loss(9) != expected
    rig.table, rig.gradient = clone["table"], clone["gradient"]
    assert torch.equal(rig.loss(9), expected)
    RowOptimizer([rig.table], {rig.table: rig.gradient})
    assert rig.gradient.decay is None
    assert_close(rig.loss(9), expected, 1e-13)


def test_decay_of_a_bf16_table_is_unbiased() -> None:
    table = nn.Parameter(torch.ones(400, 100, dtype=torch.bfloat16))
    gradient = RowGradient(slots=400, width=100)
    optimizer = RowOptimizer([table], {table: gradient}, rule="sgd", lr=0.1, weight_decay=1e-3)
    one = torch.zeros(1, 1, dtype=torch.int64)
    for _ in range(10):
        optimizer.zero_grad()
        gradient.append(one, torch.zeros(1, 1), torch.ones(1, 100))
        optimizer.step()
    optimizer.settle_decay()
    # 40,000 draws between 1 and 1 - 2^-8 have a mean with a standard deviation of 1e-5.
    assert table.double().mean().item() == pytest.approx((1 - 1e-4) ** 10, abs=5e-5)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("rule", RULES)
def test_micro_batches_give_the_step_of_the_whole_batch(rule: str, dtype: torch.dtype) -> None:
    whole, parts = Rig(dtype, rule=rule), Rig(dtype, rule=rule)
    for step in range(3):
        whole.run(range(step, step + 1))
        parts.optimizer.zero_grad()
        for row in range(4):
            parts.loss(step, slice(row, row + 1)).backward()
        parts.optimizer.step()
    assert torch.equal(parts.table, whole.table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_repeats_bit_by_bit(rule: str, dtype: torch.dtype) -> None:
    settings = {"rule": rule, "lr": 0.05, "weight_decay": 0.1, "seed": 5}
    whole, first = Rig(dtype, **settings), Rig(dtype, **settings)
    whole.run(range(6))
    first.run(range(3))
    state, values = copy.deepcopy(first.optimizer.state_dict()), first.table.detach().clone()
    first.run(range(3, 4))  # the state must not change with the run it was taken from
    resumed = Rig(dtype, rule=rule, seed=77)
    resumed.table.data.copy_(values)
    resumed.optimizer.load_state_dict(state)
    resumed.run(range(3, 6))
    assert torch.equal(resumed.table, whole.table)
    for key, value in whole.optimizer.state[whole.table].items():
        assert value.dtype == resumed.optimizer.state[resumed.table][key].dtype
        assert torch.equal(value, resumed.optimizer.state[resumed.table][key])


def test_seeds_and_steps_change_the_rounding() -> None:
    runs = []
    for seed in (1, 2):
        runs.append(Rig(torch.bfloat16, rule="sgd", lr=1e-3, seed=seed))
        runs[-1].run(range(1))
    assert not torch.equal(runs[0].table, runs[1].table)


def test_a_state_of_other_tables_or_rules_is_refused() -> None:
    rig = Rig(rule="adam")
    rig.run(range(1))
    state = rig.optimizer.state_dict()
    wrong_rule = copy.deepcopy(state)
    wrong_rule["state"][0].pop("exp_avg")
    with pytest.raises(ValueError, match="load a state of the same rules"):
        Rig().optimizer.load_state_dict(wrong_rule)
    wrong_size = copy.deepcopy(state)
    wrong_size["state"][0]["exp_avg_sq"] = torch.zeros(SLOTS)
    with pytest.raises(ValueError, match="load a state of the same tables"):
        Rig().optimizer.load_state_dict(wrong_size)


def test_scaled_gradients_are_scaled_in_the_update() -> None:
    scaled, exact = Rig(rule="sgd", lr=0.1), Rig(rule="sgd", lr=0.05)
    for rig in (scaled, exact):
        rig.loss(0).backward()
    scaled.gradient.scale_(0.5)
    scaled.optimizer.step()
    exact.optimizer.step()
    assert_close(scaled.table, exact.table, 1e-13)


def test_a_dense_gradient_updates_every_row() -> None:
    rig = Rig(lr=0.1)
    rig.table.grad = torch.randn_like(rig.table)
    table = nn.Parameter(rig.table.detach().clone())
    table.grad = rig.table.grad.clone()
    torch.optim.Adam([table], lr=0.1).step()
    rig.optimizer.step()
    assert_close(rig.table, table, 1e-13)
    rig.loss(0).backward()
    with pytest.raises(ValueError, match="a dense gradient and 12 collected look-ups"):
        rig.optimizer.step()
    rig.optimizer.zero_grad()
    assert rig.table.grad is None
    assert rig.gradient.is_empty


def test_a_table_without_a_gradient_stays_and_its_steps_do_not_count() -> None:
    rig = Rig(lr=0.1, weight_decay=0.5)
    before = rig.table.detach().clone()
    rig.optimizer.step()
    assert torch.equal(rig.table, before)
    assert not rig.optimizer.state
    assert rig.optimizer.explain() == ()


def test_a_gradient_without_look_ups_counts_as_a_step() -> None:
    rig = Rig(look_ups=lambda _: torch.zeros(0, PICKS, dtype=torch.int64))
    before = rig.table.detach().clone()
    rig.run(range(2))
    assert torch.equal(rig.table, before)
    assert rig.optimizer.state[rig.table]["step"] == 2


def test_it_says_which_implementation_and_path_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSPEC_KERNELS", "torch")
    rig = Rig()
    rig.run(range(1))
    touched = draw_indices(0).unique().numel() / SLOTS
    (update,) = rig.optimizer.explain()
    assert str(update) == (
        f"table 0 [24, 6]: torch, path rows, {touched:.1%} of the rows touched: demanded by "
        "ARCHSPEC_KERNELS=torch; less than 50% of the rows are touched"
    )
    rig.look_ups = every_row
    rig.run(range(1))
    (update,) = rig.optimizer.explain()
    assert (update.path, update.touched) == ("blocks", 1.0)


def test_the_closure_runs_with_gradients_and_its_loss_is_returned() -> None:
    rig = Rig(lr=0.1)

    def closure() -> Tensor:
        loss = rig.loss(0)
        loss.backward()
        return loss

    before = rig.table.detach().clone()
    assert rig.optimizer.step(closure) > 0
    assert not torch.equal(rig.table, before)


def test_a_group_brings_its_own_settings_and_carriers() -> None:
    rig, table = Rig(lr=0.1), nn.Parameter(torch.ones(5, 2))
    gradient = RowGradient(slots=5, width=2)
    group = {"params": [table], "rule": "sgd", "lr": 2.0, "row_gradients": {table: gradient}}
    rig.optimizer.add_param_group(group)
    gradient.append(torch.tensor([[3]]), torch.ones(1, 1), torch.ones(1, 2))
    rig.optimizer.step()
    assert table.detach().tolist() == [[1, 1]] * 3 + [[-1, -1], [1, 1]]
    assert "row_gradients" not in rig.optimizer.state_dict()["param_groups"][1]
    rig.optimizer.zero_grad()
    assert gradient.is_empty


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "adamax"}, "rule is one of adam, .* not 'adamax'"),
        ({"betas": (0.9, 1.0)}, r"betas lie in \[0, 1\)"),
        ({"lr": -1.0}, "lr >= 0 must hold, but lr=-1.0"),
        ({"eps": float("nan")}, "eps >= 0 must hold"),
        ({"dtype": torch.float16}, "not torch.float16"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rig(**settings)


def test_what_is_no_table_is_refused_and_not_added() -> None:
    optimizer = Rig().optimizer
    for parameter in (torch.zeros(3), torch.zeros(3, 4).T):
        with pytest.raises(ValueError, match="give it to another optimizer"):
            optimizer.add_param_group({"params": [parameter]})
    table = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="make one of its shape"):
        optimizer.add_param_group(
            {"params": [table], "row_gradients": {table: RowGradient(slots=4, width=4)}}
        )
    assert len(optimizer.param_groups) == 1


def test_decay_of_a_whole_step_is_refused() -> None:
    rig = Rig(lr=2.0, weight_decay=0.5)
    with pytest.raises(ValueError, match=r"lr \* weight_decay < 1 must hold"):
        rig.run(range(1))
