"""Which part of a parameter a rank holds."""

import math

import pytest
import torch

from archspec.compiler.boxes import held, local_box
from archspec.compiler.compile import compile
from archspec.testing.parity import plan_of
from archspec.testing.parity_models import SMALL
from archspec.testing.ranks import run_on_threads
from archspec.testing.specs import load_document


def boxes(rank, plan):
    model = compile(load_document(SMALL), plan=plan)
    return {name: (local_box(p), tuple(held(p).shape)) for name, p in model.named_parameters()}


def test_a_plain_parameter_is_held_in_full():
    parameter = torch.nn.Parameter(torch.zeros(3, 4))
    assert local_box(parameter) == ((0, 3), (0, 4))
    assert held(parameter) is parameter


@pytest.mark.parametrize("shard", ["columns", "rows"])
def test_boxes_are_as_large_as_what_is_held_and_cover_every_element(shard):
    mesh = {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 2}
    ranks = run_on_threads(8, boxes, plan_of(mesh=mesh, tables={"shard": shard}))
    model = compile(load_document(SMALL), device="meta")
    for name, parameter in model.named_parameters():
        seen = torch.zeros(parameter.shape, dtype=torch.int)
        for found in ranks:
            box, shape = found[name]
            assert math.prod(b - a for a, b in box) == math.prod(shape), name
            seen[tuple(slice(*bounds) for bounds in box)] += 1
        assert (seen > 0).all(), name
        assert seen.unique().numel() == 1, f"{name}: held by more ranks here than there"
