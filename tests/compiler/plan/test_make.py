"""Plans: what ranks hold adds up, rules are kept, and sizes of the world do not matter."""

from __future__ import annotations

import json
import math
import time
from collections import Counter

import pytest

from archspec.compiler.plan.faults import PlanError
from archspec.compiler.plan.make import BuildPlan, make_plan
from archspec.compiler.plan.parameters import plan_model
from archspec.cost.summary import summarize
from archspec.spec.load import load_hardware, load_model, load_plan
from archspec.spec.plan import MeshSizes, PlanSpec, Precision, TablePlan
from archspec.testing.plans import random_plan
from archspec.testing.specs import random_spec

SEEDS = range(160)


def plan_of(mesh: dict[str, object] | None = None, **fields: object) -> PlanSpec:
    return PlanSpec(mesh=MeshSizes(**({"dp_shard": 1} if mesh is None else mesh)), **fields)


def random_plans() -> list[tuple[int, BuildPlan]]:
    """Return the plans of random models and meshes that break no rule."""
    found = []
    for seed in SEEDS:
        spec = random_spec(seed)
        try:
            found.append((seed, make_plan(spec, random_plan(seed, pools=tuple(spec.pools)))))
        except PlanError:
            continue
    return found


@pytest.fixture(scope="module")
def plans():
    return random_plans()


def test_many_random_plans_are_legal(plans):
    assert len(plans) > 40
    axes = Counter(axis for _, p in plans for axis, size in p.mesh.sizes().items() if size > 1)
    assert min(axes[axis] for axis in ("dp_replicate", "dp_shard", "tp", "ep", "memory")) >= 3


def test_pieces_of_all_ranks_cover_every_parameter_equally_often(plans):
    for seed, found in plans:
        world = found.mesh.world_size
        for name, one in plan_model(found.spec, found.plan, found.mesh).items():
            held = sum(one.local_numel(rank) for rank in range(world))
            pieces = math.prod(cut.axis.ranks for cut in one.all_cuts)
            assert held == one.numel * world // pieces, (seed, name)


def test_the_first_rank_holds_most_and_the_last_least(plans):
    for seed, found in plans:
        world = found.mesh.world_size
        for name, one in plan_model(found.spec, found.plan, found.mesh).items():
            sizes = [one.local_numel(rank) for rank in range(world)]
            assert (sizes[0], sizes[-1]) == (max(sizes), min(sizes)), (seed, name)


def test_bytes_by_role_are_those_of_the_local_shapes(plans):
    element = {"float32": 4, "bfloat16": 2, "float64": 8}
    for seed, found in plans:
        for rank, memory in ((0, found.largest), (found.mesh.world_size - 1, found.smallest)):
            planned = plan_model(found.spec, found.plan, found.mesh)
            shapes = found.local_shapes(rank)
            held = {name: math.prod(shape) for name, shape in shapes.items()}
            total = sum(held[name] * element[one.dtype] for name, one in planned.items())
            assert memory.weights + memory.tables == total == found.local_bytes(rank), seed
            trained = sum(
                held[name] * element[one.dtype]
                for name, one in planned.items()
                if one.trains and not one.table
            )
            assert (memory.gradients, memory.optimizer) == (trained, 2 * trained)


def test_one_rank_holds_the_model():
    for seed in range(40):
        spec = random_spec(seed)
        found = make_plan(spec, plan_of(precision=Precision(compute="float32")))
        assert found.num_params == summarize(spec).total.num_params
        assert found.largest.weights + found.largest.tables == 4 * found.num_params
        assert found.collectives == ()
        assert found.largest.gathered == found.largest.exchange == found.largest.dispatch == 0


def test_activations_of_one_rank_are_those_of_the_books():
    from archspec.cost.activations import activation_memory
    from archspec.cost.summary import cost_context

    for seed in range(40):
        spec = random_spec(seed)
        context = cost_context(spec)
        for recompute in ("none", "selective", "full"):
            found = make_plan(spec, plan_of(recompute=recompute))
            peak = activation_memory(spec, context, recompute).peak
            assert found.largest.activations == peak * found.micro_tokens, seed


def test_published_shapes_on_a_rank():
    spec = load_model("specs/models/memory_plus_1.3b_64m.yaml")
    plan = load_plan("specs/plans/h100x4096.yaml")
    found = make_plan(spec, plan, world_size=4096)
    assert found.num_params == 138_747_693_056
    shapes = found.local_shapes(4095)
    assert shapes["pools.values.weight"] == (8192**2, 2048 // 2 // 64)
    assert shapes["layers.0.attention.query.weight"] == (2048 // 2 // 64, 2048)
    assert shapes["layers.0.attention.output.weight"] == (2048 // 64, 2048 // 2)
    assert shapes["layers.3.blocks.0.codebooks"] == (2, 2, 8192 // 64, 512)


def test_thousands_of_ranks_take_no_longer_than_one():
    spec = load_model("specs/models/memory_plus_1.3b_64m.yaml")
    start = time.process_time()
    make_plan(spec, load_plan("specs/plans/h100x4096.yaml"), world_size=4096)
    assert time.process_time() - start < 2


def test_recompute_and_tensor_parallelism_lower_activations():
    spec = load_model("specs/models/dense_1.3b.yaml")
    kept = {
        recompute: make_plan(spec, plan_of(recompute=recompute)).largest.activations
        for recompute in ("none", "selective", "full")
    }
    assert kept["none"] > kept["selective"] > kept["full"]
    cut = make_plan(spec, plan_of({"dp_shard": 1, "tp": 4})).largest.activations
    assert kept["none"] / 4 < cut < kept["none"]


def test_look_ups_cost_the_same_for_any_number_of_slots():
    plan = plan_of({"dp_shard": 16, "memory": 8, "tp": 2})
    sent = {
        name: make_plan(
            load_model(f"specs/models/memory_plus_1.3b_{name}.yaml"), plan
        ).memory_bytes_per_token
        for name in ("1m", "4m", "16m", "64m")
    }
    assert len(set(sent.values())) == 1
    assert sent["1m"] > 0


def test_bytes_of_a_plain_plan_by_hand():
    spec = load_model("specs/models/dense_1.3b.yaml")
    found = make_plan(spec, plan_of({"dp_shard": 8}))
    by_kind = {one.kind: one for one in found.collectives}
    gather, reduce = by_kind["all-gather"], by_kind["reduce-scatter"]
    frame = 2 * 32000 * 2048 + 2048
    layers = found.num_params - frame
    assert gather.count == 2 * 22 + 1
    assert gather.sent_bytes == (2 * layers + frame) * 2 * 7 // 8
    assert reduce.sent_bytes == found.num_params * 4 * 7 // 8


def test_bytes_of_experts_by_hand():
    spec = load_model("specs/models/moe_1.3b.yaml")  # 22 layers, top_k 1
    found = make_plan(spec, plan_of({"dp_shard": 4, "ep": 4}), micro_tokens=1000)
    exchange, told = (one for one in found.collectives if one.kind == "all-to-all")
    assert (told.count, told.sent_bytes) == (22, 22 * 4 * 8 * 3 // 4)
    assert exchange.count == 22 * 4
    assert exchange.sent_bytes == 22 * 4 * (1000 * 2048 * 2 * 3 // 4)


def test_bytes_of_a_memory_exchange_by_hand():
    spec = load_model("specs/models/memory_plus_1.3b_1m.yaml")  # 3 readers of 4 x 32 picks
    plan = plan_of(
        {"dp_shard": 8, "memory": 8}, pools={"values": TablePlan(shard={"rows": 2, "columns": 4})}
    )
    found = make_plan(spec, plan, micro_tokens=1000)
    sent: Counter[tuple[str, str]] = Counter()
    for one in found.collectives:
        sent[one.purpose, one.kind] += one.sent_bytes
    assert sent["picks to the fold", "all-gather"] == 3 * 7 * 1000 * 128 * 8
    assert sent["gradients of weights home", "reduce-scatter"] == 3 * 7 * 1000 * 128 * 4
    assert sent["sums over pieces of rows", "reduce-scatter"] == 3 * 4 * 1000 * 512 * 4
    home = sent["sums home and gradients back", "all-to-all"]
    assert home == 2 * 3 * 3 * 1000 * 512 * 4


def test_gradients_of_what_tp_ranks_hold_alike_are_added_up():
    spec = load_model("specs/models/deepseek_v2_lite.yaml")
    found = make_plan(spec, plan_of({"dp_shard": 1, "tp": 2}), micro_tokens=8)
    (replicas,) = (one for one in found.collectives if one.purpose == "gradients of replicas")
    latents = 2048 * (512 + 64) + 512  # the projection to the latent and the shared key; its norm
    assert replicas.count == 27 * 2
    assert replicas.sent_bytes == 27 * latents * 2


def test_recompute_repeats_what_waits_and_holds_fewer_picks():
    spec = load_model("specs/models/memory_plus_1.3b_1m.yaml")
    mesh = {"dp_shard": 8, "memory": 8, "tp": 2}
    kept, again = (make_plan(spec, plan_of(mesh, recompute=how)) for how in ("none", "selective"))
    counts = [{one.purpose: one.count for one in found.collectives} for found in (kept, again)]
    assert [count["sums of parts"] for count in counts] == [2 * 44 + 2, 3 * 44 + 2]
    assert [count["picks to the fold"] for count in counts] == [6, 12]
    assert [count["gather parameters"] for count in counts] == [45, 45]
    picks = 8 * 4096 * 128 * 8
    assert kept.largest.exchange - again.largest.exchange == 2 * picks


def test_row_wise_optimizers_take_less():
    spec = load_model("specs/models/memory_plus_1.3b_16m.yaml")
    plan = plan_of(
        {"dp_shard": 64, "memory": 64},
        precision=Precision(tables="bfloat16", table_rounding="stochastic"),
    )
    rows = {
        name: make_plan(spec, plan, table_optimizer=name).largest
        for name in ("adamw", "row_adam", "row_adagrad")
    }
    assert rows["adamw"].table_gradients == rows["adamw"].tables == 16_777_216 * 32 * 2
    assert rows["adamw"].table_optimizer == rows["row_adam"].table_optimizer
    assert rows["row_adagrad"].table_optimizer == 16_777_216 * 4
    assert rows["row_adam"].table_gradients < 2 * rows["adamw"].table_gradients


def test_a_plan_that_does_not_fit_names_the_largest_terms_and_a_way_out():
    spec = load_model("specs/models/llama2_70b.yaml")
    device = load_hardware("h100")
    with pytest.raises(PlanError, match="must fit NVIDIA H100 SXM") as raised:
        make_plan(spec, plan_of({"dp_shard": 8}), hardware=device)
    message = str(raised.value)
    assert message.startswith("plan mesh: ")
    assert "optimizer" in message
    assert "of 74.5 GiB" in message
    assert "use recompute: full, more tp, or fewer tokens" in message
    with pytest.raises(PlanError, match="use more ranks in dp_shard or tp"):
        make_plan(spec, plan_of({"dp_shard": 8}, recompute="full"), hardware=device)
    found = make_plan(spec, plan_of({"dp_shard": 8}), hardware=device, allow_oversize=True)
    assert found.fits is False


@pytest.mark.parametrize(
    ("mesh", "world_size", "said"),
    [
        ({"dp_shard": 8}, 16, "dp_replicate 1 x dp_shard 8 x tp 1 = 8 and the world size is 16"),
        ({"tp": 3}, 16, "must divide the world size, but dp_replicate 1 x tp 3 = 3"),
        ({}, None, "dp_shard is auto, so it follows from the world size; give --world-size"),
        ({"ep": 3}, 16, "ep must divide dp_shard, whose ranks it folds, but ep=3 and dp_shard=16"),
    ],
)
def test_a_mesh_that_does_not_make_up_the_world_is_refused(mesh, world_size, said):
    with pytest.raises(PlanError) as raised:
        make_plan(random_spec(0), plan_of(mesh), world_size=world_size)
    assert said in str(raised.value)


def test_faults_name_the_places_in_both_documents():
    spec = load_model("specs/models/tiny.yaml")
    with pytest.raises(PlanError) as raised:
        make_plan(spec, plan_of({"dp_shard": 1, "tp": 3}, pools={"bog": TablePlan()}))
    faults = {fault.spec_path: fault for fault in raised.value.faults}
    assert faults["blocks", "ffn", "hidden_dim"].plan_path == ("mesh", "tp")
    assert faults["attention", "num_heads"].plan_path == ("mesh", "tp")
    assert faults[()].plan_path == ("pools", "bog")
    assert "unknown pool 'bog'" in faults[()].message
    assert len(raised.value.faults) == len(set(raised.value.faults))


def test_everything_is_plain_for_json():
    spec = load_model("specs/models/moe_grouped_tiny.yaml")
    found = make_plan(spec, plan_of({"dp_shard": 2, "ep": 2}), hardware=load_hardware("h100"))
    document = json.loads(json.dumps(found.as_dict()))
    assert document["world_size"] == 2
    assert document["largest_rank"]["total"] == found.largest.total
    assert document["step"]["seconds"] == found.time.seconds


def test_a_device_without_a_network_gives_no_time_across_nodes():
    spec = load_model("specs/models/tiny.yaml")
    device = load_hardware("h100").model_copy(update={"network_bandwidth": None})
    found = make_plan(spec, plan_of({"dp_shard": 16}), hardware=device)
    assert found.time is None
    assert "gives no network_bandwidth" in found.untimed
    assert make_plan(spec, plan_of({"dp_shard": 8}), hardware=device).time is not None
