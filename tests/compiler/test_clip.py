"""The norm of gradients over several meshes, and clipping by it."""

import pytest
import torch
from torch import nn

from archspec.compiler.boxes import held
from archspec.compiler.clip import clip_gradients
from archspec.compiler.compile import compile
from archspec.testing.parity import batch, mean_loss, plan_of, share
from archspec.testing.parity_models import SMALL
from archspec.testing.ranks import run_on_threads
from archspec.testing.specs import load_document

SPEC = load_document(SMALL)


def clipped(rank, plan, max_norm):
    model = compile(SPEC, plan=plan) if plan else compile(SPEC, dtype="float64")
    tensors = batch(SPEC, 0)
    mean_loss(model, *(share(rank, plan, *tensors) if plan else tensors)).backward()
    before = clip_gradients(model.parameters(), max_norm).item()
    after = clip_gradients(model.parameters()).item()
    return before, after


@pytest.mark.parametrize(
    "mesh",
    [
        {"dp_replicate": 2, "dp_shard": 2, "ep": 2},
        {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 2},
    ],
)
def test_every_element_counts_once_over_any_mesh(mesh):
    expected, _ = clipped(0, None, 1.0)
    plan = plan_of(mesh=mesh)
    ranks = mesh.get("dp_replicate", 1) * mesh["dp_shard"] * mesh.get("tp", 1)
    found = run_on_threads(ranks, clipped, plan, expected / 10)
    assert len(set(found)) == 1
    before, after = found[0]
    assert before == pytest.approx(expected, rel=1e-12)
    assert after == pytest.approx(expected / 10, rel=1e-4)  # torch divides by norm + 1e-6


def parameters(*values):
    found = []
    for value in values:
        parameter = nn.Parameter(torch.zeros(len(value), dtype=torch.float64))
        parameter.grad = torch.tensor(value, dtype=torch.float64)
        found.append(parameter)
    return found


@pytest.mark.parametrize("max_norm", [1.0, 5.0, 100.0])
def test_one_process_clips_as_torch_does(max_norm):
    ours, theirs = parameters([3.0, 4.0], [12.0]), parameters([3.0, 4.0], [12.0])
    norm = clip_gradients(ours, max_norm)
    assert norm == nn.utils.clip_grad_norm_(theirs, max_norm) == 13.0
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(held(mine.grad), other.grad)


def test_measuring_changes_nothing():
    (parameter,) = parameters([3.0, 4.0])
    assert clip_gradients([parameter]) == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_what_has_no_gradient_is_left_out():
    without = nn.Parameter(torch.ones(2))
    assert clip_gradients([without, *parameters([2.0])], 1.0) == 2.0
    assert without.grad is None


def test_dtypes_may_differ():
    (wide,) = parameters([3.0])
    narrow = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    narrow.grad = torch.tensor([4.0], dtype=torch.bfloat16)
    assert clip_gradients([wide, narrow], 2.5).item() == 5.0
    assert wide.grad.item() == pytest.approx(1.5, rel=1e-5)
    assert narrow.grad.item() == 2.0
