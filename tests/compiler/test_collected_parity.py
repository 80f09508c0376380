"""Tables that collect look-ups train on any mesh as on one rank."""

import functools

import pytest
import torch

from archspec.blocks.pool.module import Pool
from archspec.blocks.table import row_gradients
from archspec.compiler.boxes import held, local_box
from archspec.compiler.clip import clip_gradients
from archspec.compiler.compile import compile
from archspec.errors import ArchspecError
from archspec.kernels.row_optimizer.joint import JointOptimizer
from archspec.kernels.row_optimizer.optimizer import RowOptimizer
from archspec.testing.parity import batch, mean_loss, plan_of, share
from archspec.testing.parity_models import SMALL
from archspec.testing.ranks import RankError, run_on_threads
from archspec.testing.specs import load_document

RANK1 = {"expert": "rank1"}
SPECS = {
    "plain": load_document(SMALL),
    "rank-1 experts": load_document(
        {
            **SMALL,
            "pools": {"big": {**SMALL["pools"]["big"], **RANK1}},
            "blocks": {**SMALL["blocks"], "shared": {**SMALL["blocks"]["shared"], **RANK1}},
            "layers": ["shared", "shared"],
        }
    ),
}
ROWS = {"tables": {"shard": "rows"}}
PLANS = {
    "memory 2 columns": {"mesh": {"dp_shard": 2, "memory": 2}},
    "memory 2 columns x replicas": {"mesh": {"dp_replicate": 2, "dp_shard": 2, "memory": 2}},
    "memory 4 rows": {"mesh": {"dp_shard": 4, "memory": 4}, **ROWS},
    "memory 2 rows x dp_shard 4": {"mesh": {"dp_shard": 4, "memory": 2}, **ROWS},
    "memory 2 rows x tp 2": {"mesh": {"dp_shard": 2, "tp": 2, "memory": 2}, **ROWS},
}
NORM = 0.05  # small enough to clip in every step


def trained(model, rule, *shares_of):
    """Train three steps of two micro-batches; return the norms before clipping."""
    for module in model.modules():
        if isinstance(module, Pool):
            module.collect_rows()
    collected = row_gradients(model)
    others = [p for p in model.parameters() if p.requires_grad and p not in collected]
    optimizer = JointOptimizer(
        RowOptimizer(collected, collected, rule=rule, lr=1e-2, eps=1e-12),
        torch.optim.AdamW(others, lr=1e-2),
    )
    norms = []
    for step in range(3):
        for part in range(2):
            tensors = batch(model.spec, 2 * step + part)
            tensors = share(*shares_of, *tensors) if shares_of else tensors
            (mean_loss(model, *tensors) / 2).backward()
        for module in model.modules():
            if isinstance(module, Pool):
                for gradient in module.row_gradients.values():
                    module.lookup.average(gradient)
        norms.append(clip_gradients(model.parameters(), NORM, collected).item())
        optimizer.step()
        optimizer.zero_grad()
    return norms


@functools.cache
def expected(name, rule):
    model = compile(SPECS[name], dtype="float64")
    norms = trained(model, rule)
    return norms, {name: p.detach() for name, p in model.named_parameters()}


def deviation(rank, spec, plan, rule, known):
    model = compile(spec, plan=plan)
    norms = trained(model, rule, rank, plan)
    worst = 0.0
    for name, parameter in model.named_parameters():
        part = known[name][tuple(slice(*bounds) for bounds in local_box(parameter))]
        if part.numel():
            off = (held(parameter.detach()) - part).norm() / known[name].norm()
            worst = max(worst, off.item())
    return norms, worst


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("plan", PLANS)
def test_collected_look_ups_train_as_on_one_rank(name, plan):
    rule = "rowwise_adagrad" if "tables" in PLANS[plan] and "tp" not in plan else "adam"
    fields = PLANS[plan]
    norms, known = expected(name, rule)
    assert min(norms) > NORM
    mesh = fields["mesh"]
    ranks = mesh.get("dp_replicate", 1) * mesh["dp_shard"] * mesh.get("tp", 1)
    for found, worst in run_on_threads(
        ranks, deviation, SPECS[name], plan_of(**fields), rule, known
    ):
        assert found == pytest.approx(norms, rel=1e-11)
        assert worst < 1e-11


def collect(rank, plan, rule):
    model = compile(SPECS["plain"], plan=plan)
    trained(model, rule, rank, plan)


def test_rules_of_whole_rows_refuse_rows_that_are_cut():
    plan = plan_of(**PLANS["memory 2 columns"])
    with pytest.raises(RankError, match="cut into columns over 2 ranks; use the rule adam or sgd"):
        run_on_threads(2, collect, plan, "rowwise_adam")


def test_a_table_that_fsdp_gathers_collects_nothing():
    with pytest.raises(RankError, match="FSDP over 2 ranks gathers this table") as error:
        run_on_threads(2, collect, plan_of(mesh={"dp_shard": 2}), "adam")
    assert ArchspecError.__name__ in str(error.value)
