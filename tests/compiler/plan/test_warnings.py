"""Plans that are legal and seldom meant."""

from __future__ import annotations

import pytest

from archspec.compiler.plan.make import make_plan
from archspec.spec.load import load_hardware, load_model
from archspec.spec.plan import MeshSizes, PlanSpec, TablePlan

MOE = "moe_grouped_tiny"


def warnings_of(model, mesh, hardware=None, overrides=(), **fields):
    spec = load_model(f"specs/models/{model}.yaml", overrides)
    device = None if hardware is None else load_hardware(hardware)
    plan = PlanSpec(mesh=MeshSizes(**mesh), **fields)
    return make_plan(spec, plan, hardware=device, allow_oversize=True).warnings


@pytest.mark.parametrize(
    ("model", "mesh", "fields", "said"),
    [
        (
            "dense_134m",
            {"dp_shard": 4, "ep": 2},
            {},
            "mesh.ep=2 changes nothing: the model has no mixture of experts",
        ),
        ("dense_134m", {"dp_shard": 4, "memory": 2}, {}, "mesh.memory=2 changes nothing"),
        (
            "memory_plus_134m_1m",
            {"dp_shard": 4},
            {"tables": TablePlan(shard="rows")},
            "tables.shard changes nothing",
        ),
    ],
)
def test_settings_that_change_nothing(model, mesh, fields, said):
    assert any(said in line for line in warnings_of(model, mesh, **fields))


def test_an_expert_that_ranks_never_own():
    found = warnings_of("olmoe_1b_7b", {"dp_shard": 40, "ep": 40})
    assert any(
        "experts.up has 64 pieces for ep=40: 8 of these ranks hold none" in line for line in found
    )


def test_a_table_whose_last_pieces_are_empty():
    found = warnings_of("memory_plus_134m_1m", {"dp_shard": 500, "memory": 500}, overrides=())
    assert any("weight has 768 pieces for memory_columns=500" in line for line in found)


def test_padding_that_fsdp_gathers():
    found = warnings_of("tiny", {"dp_shard": 1000})
    assert any("times the elements there are" in line for line in found)


def test_tensor_parallelism_across_nodes():
    found = warnings_of("llama2_7b", {"dp_shard": 1, "tp": 16}, hardware="h100")
    assert any("mesh.tp=16 crosses nodes of 8 devices" in line for line in found)
    assert not warnings_of("llama2_7b", {"dp_shard": 2, "tp": 8}, hardware="h100")


def test_a_table_that_a_rank_holds_whole():
    gathered = warnings_of("memory_plus_1.3b_16m", {"dp_shard": 64}, hardware="h100")
    assert any("gathered on every rank in each pass, 128 GiB" in line for line in gathered)
    replicated = warnings_of(
        "memory_plus_1.3b_16m",
        {"dp_shard": 64},
        hardware="h100",
        tables=TablePlan(unit="folded"),
    )
    assert any("weight is whole on every rank, 128 GiB" in line for line in replicated)
    folded = warnings_of("memory_plus_1.3b_16m", {"dp_shard": 64, "memory": 64}, hardware="h100")
    assert folded == ()
