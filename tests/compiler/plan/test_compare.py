"""A plan against what a rank holds."""

from __future__ import annotations

from archspec.compiler.plan.compare import Local, differences
from archspec.compiler.plan.make import make_plan
from archspec.compiler.plan.parameters import plan_model
from archspec.spec.load import load_model
from archspec.spec.plan import MeshSizes, PlanSpec


def test_every_difference_is_named():
    spec = load_model("specs/models/tiny.yaml")
    found = make_plan(spec, PlanSpec(mesh=MeshSizes(dp_shard=4, memory=2)))
    planned = plan_model(spec, found.plan, found.mesh)
    built = {name: Local(one.local_shape(3), one.dtype) for name, one in planned.items()}
    assert list(differences(found, 3, built)) == []

    del built["norm.weight"]
    built["extra"] = Local((2, 3), "float32")
    built["embedding.weight"] = Local((1, 1), "bfloat16")
    (width,) = {one.local_shape(3)[1] for n, one in planned.items() if n == "embedding.weight"}
    rows = planned["embedding.weight"].local_shape(3)[0]
    assert set(differences(found, 3, built)) == {
        "norm.weight: planned, but rank 3 has no such parameter",
        "extra: not planned, but rank 3 holds float32 2x3",
        f"embedding.weight: planned as float32 {rows}x{width}, but rank 3 holds bfloat16 1x1",
    }
