"""A plan is what would be built."""

from functools import partial

import pytest
import torch.distributed as dist

from archspec.compiler import verify
from archspec.compiler.compile import compile
from archspec.compiler.plan.faults import PlanError
from archspec.compiler.plan.make import make_plan
from archspec.compiler.verify import verify_plan
from archspec.errors import ArchspecError
from archspec.spec.load import load_model, load_plan
from archspec.spec.plan import PlanSpec
from archspec.testing.parity import plan_of
from archspec.testing.parity_models import SMALL
from archspec.testing.plans import random_plan
from archspec.testing.specs import load_document, random_spec

SPEC = load_document(SMALL)


@pytest.mark.parametrize(
    "fields",
    [
        {"mesh": {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 4}},
        {"mesh": {"dp_shard": 4, "memory": 4}, "tables": {"shard": "rows"}},
        {"mesh": {"dp_replicate": 2, "dp_shard": 4, "ep": 4}},
    ],
)
def test_every_rank_holds_what_was_planned(fields):
    plan = make_plan(SPEC, plan_of(**fields))
    ranks = range(plan.mesh.world_size)
    found = verify_plan(plan, ranks)
    assert found.differences == ()
    assert found.ranks == tuple(ranks)
    assert found.num_parameters > 20
    assert not dist.is_initialized()


def test_random_plans_of_random_models_are_built_as_planned():
    checked = 0
    for seed in range(30):
        spec = random_spec(seed)
        plan = random_plan(seed, pools=tuple(spec.pools))
        try:
            found = make_plan(spec, plan, allow_oversize=True)
        except PlanError:
            continue  # they do not suit each other, as most do not
        checked += 1
        assert verify_plan(found).differences == (), seed
    assert checked >= 5


def test_a_difference_is_named(monkeypatch):
    other = plan_of("float32", mesh={"dp_shard": 2})
    built = partial(compile, SPEC, plan=other, device="meta")
    monkeypatch.setattr(verify, "compile", lambda *_, **__: built())
    found = verify_plan(make_plan(SPEC, plan_of(mesh={"dp_shard": 2})))
    line = "norm.weight: planned as float64 6, but rank 1 holds float32 6"
    assert line in found.differences


def test_needs_a_process_of_its_own(tmp_path):
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        with pytest.raises(ArchspecError, match="outside of torchrun"):
            verify_plan(make_plan(SPEC, PlanSpec(mesh={"dp_shard": 1})))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "plan", "ranks"), [("memory_plus_1.3b_64m", "h100x4096", 4096)])
def test_thousands_of_ranks_are_verified_by_one_process(model, plan, ranks):
    found = make_plan(
        load_model(f"specs/models/{model}.yaml"),
        load_plan(f"specs/plans/{plan}.yaml"),
        world_size=ranks,
        allow_oversize=True,
    )
    result = verify_plan(found)
    assert result.differences == ()
    assert result.ranks == (0, ranks // 2, ranks - 1)
