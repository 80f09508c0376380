"""The search over meshes."""

from __future__ import annotations

import pytest

from archspec.compiler.plan.make import make_plan
from archspec.compiler.plan.search import all_meshes, search_meshes, with_mesh
from archspec.spec.load import load_hardware, load_model
from archspec.spec.plan import PlanSpec

H100 = load_hardware("h100")


@pytest.fixture(scope="module")
def found():
    spec = load_model("specs/models/memory_plus_1.3b_16m.yaml")
    return spec, search_meshes(spec, PlanSpec(), world_size=16, hardware=H100)


def test_every_mesh_is_ranked_or_rejected_with_a_reason(found):
    spec, result = found
    assert result.tried == len(list(all_meshes(spec, 16, H100)))
    assert result.candidates
    assert result.rejections
    assert all(one.reason and one.example for one in result.rejections)


def test_candidates_fit_and_the_fastest_comes_first(found):
    _, result = found
    speeds = [one.time.tokens_per_second for one in result.candidates]
    assert speeds == sorted(speeds, reverse=True)
    assert all(one.memory.total <= H100.memory_bytes for one in result.candidates)
    assert {one.mesh.world_size for one in result.candidates} == {16}


def test_a_candidate_is_the_plan_of_its_mesh(found):
    spec, result = found
    for one in result.candidates[::5]:
        plan = with_mesh(PlanSpec(), one.mesh, one.recompute)
        again = make_plan(spec, plan, hardware=H100)
        assert (again.time, again.largest) == (one.time, one.memory)


def test_recompute_is_used_only_where_it_is_needed(found):
    spec, result = found
    lighter = {"selective": "none", "full": "selective"}
    for one in result.candidates:
        if one.recompute in lighter:
            plan = with_mesh(PlanSpec(), one.mesh, lighter[one.recompute])
            assert make_plan(spec, plan, hardware=H100, allow_oversize=True).fits is False


def test_there_are_no_folds_without_anything_to_fold():
    meshes = list(all_meshes(load_model("specs/models/dense_134m.yaml"), 64, H100))
    assert {(mesh.ep, mesh.memory) for mesh in meshes} == {(1, 1)}
    assert {mesh.tp for mesh in meshes} == {1, 2, 4, 8}


def test_broken_rules_are_reasons():
    spec = load_model("specs/models/llama2_7b.yaml", ["attention.num_kv_heads=4"])
    result = search_meshes(spec, PlanSpec(), world_size=8, hardware=H100)
    reasons = {one.reason: one for one in result.rejections}
    broken = reasons["mesh.tp does not suit attention.num_kv_heads"]
    assert "num_kv_heads=4 and tp=8" in broken.example


def test_nothing_fits_a_model_that_is_too_large():
    spec = load_model("specs/models/llama2_70b.yaml")
    result = search_meshes(spec, PlanSpec(), world_size=2, hardware=H100)
    assert result.candidates == ()
    assert all("does not fit" in one.reason for one in result.rejections)
