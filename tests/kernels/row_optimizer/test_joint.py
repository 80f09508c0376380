import copy

import pytest
import torch
from torch import nn

from archspec.kernels.collected_bag import collected_bag
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer.joint import JointOptimizer
from archspec.kernels.row_optimizer.optimizer import RowOptimizer


class Rig:
    """A table and a matrix that are trained together."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(10, 4))
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.gradient = RowGradient(slots=10, width=4)
        self.rows = RowOptimizer([self.table], {self.table: self.gradient}, lr=0.1)
        self.rest = torch.optim.AdamW([self.matrix], lr=0.2)
        self.optimizer = JointOptimizer(self.rows, self.rest)

    def loss(self) -> torch.Tensor:
        indices = torch.tensor([[1, 2], [2, 5]])
        rows = collected_bag(indices, torch.ones(2, 2), self.table, self.gradient)
        return (rows @ self.matrix).square().sum()

    def run(self, steps: int, optimizers: list[torch.optim.Optimizer] | None = None) -> None:
        for _ in range(steps):
            for optimizer in optimizers or [self.optimizer]:
                optimizer.zero_grad()
            self.loss().backward()
            for optimizer in optimizers or [self.optimizer]:
                optimizer.step()


def assert_equal(one: Rig, other: Rig) -> None:
    assert torch.equal(one.table, other.table)
    assert torch.equal(one.matrix, other.matrix)


def test_one_step_is_a_step_of_both() -> None:
    joint, apart = Rig(), Rig()
    joint.run(3)
    apart.run(3, [apart.rows, apart.rest])
    assert_equal(joint, apart)


def test_groups_and_state_of_both_are_visible() -> None:
    rig = Rig()
    rig.run(1)
    assert [group["lr"] for group in rig.optimizer.param_groups] == [0.1, 0.2]
    assert set(rig.optimizer.state) == {rig.table, rig.matrix}
    state = rig.optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert state["state"].keys() == {0, 1}


def test_a_schedule_reaches_both() -> None:
    rig = Rig()
    schedule = torch.optim.lr_scheduler.LambdaLR(rig.optimizer, lambda step: 0.5**step)
    rig.run(1)
    schedule.step()
    assert rig.rows.param_groups[0]["lr"] == 0.05
    assert rig.rest.param_groups[0]["lr"] == 0.1


def test_a_resumed_run_repeats_bit_by_bit_and_its_schedule_still_reaches_both() -> None:
    whole, first = Rig(), Rig()
    whole.run(5)
    first.run(2)
    resumed = Rig()
    with torch.no_grad():
        resumed.table.copy_(first.table)
        resumed.matrix.copy_(first.matrix)
    resumed.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    resumed.run(3)
    assert_equal(whole, resumed)
    for group in resumed.optimizer.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy((resumed.table, resumed.matrix))
    resumed.run(1)
    assert torch.equal(resumed.table, before[0])
    assert torch.equal(resumed.matrix, before[1])


def test_zero_grad_reaches_both() -> None:
    rig = Rig()
    rig.loss().backward()
    rig.optimizer.zero_grad()
    assert rig.gradient.is_empty
    assert rig.matrix.grad is None


def test_the_closure_runs_once() -> None:
    rig, calls = Rig(), []

    def closure() -> torch.Tensor:
        rig.optimizer.zero_grad()
        loss = rig.loss()
        loss.backward()
        calls.append(loss)
        return loss

    assert rig.optimizer.step(closure) is calls[0]
    assert len(calls) == 1
    other = Rig()
    other.run(1)
    assert_equal(rig, other)


def test_groups_are_added_to_the_part_they_belong_to() -> None:
    rig, table, bias = Rig(), nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(3))
    carriers = {table: RowGradient(slots=3, width=2)}
    rig.optimizer.add_param_group({"params": [table], "row_gradients": carriers})
    rig.optimizer.add_param_group({"params": [bias]})
    assert rig.rows.param_groups[1]["params"] == [table]
    assert rig.rest.param_groups[1]["params"] == [bias]
    assert len(rig.optimizer.param_groups) == 4


def test_a_parameter_of_both_is_refused() -> None:
    rig = Rig()
    with pytest.raises(ValueError, match="more than one parameter group"):
        JointOptimizer(rig.rows, torch.optim.AdamW([rig.table]))


def test_a_state_of_other_groups_is_refused() -> None:
    rig = Rig()
    with pytest.raises(ValueError, match="1 groups instead of 2"):
        rig.optimizer.load_state_dict(rig.rest.state_dict())
