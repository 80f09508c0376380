"""A model computes the same on any mesh: the matrix of models and plans, as data.

In fp64 loss, every gradient and the parameters after three optimizer steps are within an error
ratio of 1e-12 of one rank, first values are equal to the bit; in fp32 loss and gradients are within
1e-5. Ranks are threads, and processes over gloo for a few.
"""

import functools

import pytest

from archspec.testing.parity import deviation, plan_of, reference
from archspec.testing.ranks import run_on_processes, run_on_threads
from archspec.testing.specs import load_document

# Sizes that do not divide by the meshes: 5 experts, 9 and 25 slots, 10 columns, vocabulary 23.
BASE = {
    "archspec": 1,
    "kind": "model",
    "vocab_size": 23,
    "max_seq_len": 8,
    "d_model": 12,
    "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6},
}
FFN = {"type": "dense", "hidden_dim": 14, "bias": True}
EXPERTS = {
    "type": "moe",
    "num_experts": 5,
    "top_k": 2,
    "hidden_dim": 6,
    "num_shared_experts": 1,
    "shared_gate": True,
}
PRIVATE = {
    "type": "memory",
    "num_keys": 3,
    "value_dim": 12,
    "num_heads": 3,
    "top_k": 2,
    "key_dim": 8,
}
SHARED = {
    "type": "shared_pool",
    "pool": "big",
    "num_heads": 2,
    "top_k": 3,
    "key_dim": 8,
    "qk_norm": True,
    "gate": "swilu",
}
POOLS = {"big": {"num_keys": 5, "value_dim": 10}}
RANK1 = {"expert": "rank1"}
MLA = {
    "type": "mla",
    "num_heads": 4,
    "q_lora_rank": 5,
    "kv_lora_rank": 6,
    "nope_head_dim": 4,
    "rope_head_dim": 2,
    "value_head_dim": 3,
}

MODELS = {
    "dense": {"blocks": {"ffn": FFN}, "layers": ["ffn", "ffn"]},
    "moe": {"blocks": {"experts": EXPERTS}, "layers": ["experts", "experts"]},
    "memory": {"blocks": {"private": PRIVATE}, "layers": ["private", "private"]},
    "pool": {"pools": POOLS, "blocks": {"shared": SHARED}, "layers": ["shared"] * 3},
    "mixed": {
        "attention": {**BASE["attention"], "qk_norm": "head", "bias": "all"},
        "pools": POOLS,
        "blocks": {"ffn": FFN, "experts": EXPERTS, "private": PRIVATE, "shared": SHARED},
        "layers": ["shared", "experts", "private", "shared", ["shared", "ffn"]],
    },
    "odd": {  # what the others leave out
        "attention": MLA,
        "tie_embeddings": True,
        "norm_position": "both",
        "pools": {"big": {**POOLS["big"], **RANK1}},
        "blocks": {
            "experts": {**EXPERTS, "scores": "sigmoid", "routing_bias": True},
            "private": {**PRIVATE, **RANK1},
            "shared": {**SHARED, **RANK1},
            "ngrams": {"type": "ngram", "slots": 17, "row_dim": 3},
        },
        "layers": ["experts", "shared", ["private", "ngrams"], "shared"],
    },
}

ROWS = {"tables": {"shard": "rows"}}
BOTH = {"tables": {"shard": {"rows": 2, "columns": 2}}}
PLANS = {
    "one rank": {"mesh": {"dp_shard": 1}},
    "dp_shard 2": {"mesh": {"dp_shard": 2}},
    "dp_shard 4": {"mesh": {"dp_shard": 4}},
    "dp_replicate 2 x dp_shard 2": {"mesh": {"dp_replicate": 2, "dp_shard": 2}},
    "tp 2": {"mesh": {"dp_shard": 1, "tp": 2}},
    "ep 2": {"mesh": {"dp_shard": 2, "ep": 2}},
    "ep 4": {"mesh": {"dp_shard": 4, "ep": 4}},
    "memory 2 columns": {"mesh": {"dp_shard": 2, "memory": 2}},
    "memory 4 columns": {"mesh": {"dp_shard": 4, "memory": 4}},
    "memory 2 rows": {"mesh": {"dp_shard": 2, "memory": 2}, **ROWS},
    "memory 4 rows": {"mesh": {"dp_shard": 4, "memory": 4}, **ROWS},
    "memory 4 rows x columns": {"mesh": {"dp_shard": 4, "memory": 4}, **BOTH},
    "tp 2 x dp_shard 2": {"mesh": {"dp_shard": 2, "tp": 2}},
    "memory 2 x dp_shard 4": {"mesh": {"dp_shard": 4, "memory": 2}},
    "memory 2 rows x replicas": {"mesh": {"dp_replicate": 2, "dp_shard": 2, "memory": 2}, **ROWS},
    "memory 2 x tp 2": {"mesh": {"dp_shard": 2, "tp": 2, "memory": 2}},
    "memory 2 rows x tp 2": {"mesh": {"dp_shard": 2, "tp": 2, "memory": 2}, **ROWS},
    "ep 2 x dp_shard 4": {"mesh": {"dp_shard": 4, "ep": 2}},
    "ep 2 x replicas": {"mesh": {"dp_replicate": 2, "dp_shard": 2, "ep": 2}},
    "all of 8": {"mesh": {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 4}},
    "all of 8, both ways": {"mesh": {"dp_shard": 4, "tp": 2, "ep": 2, "memory": 4}, **BOTH},
}
# The quick suite runs these; the slow one runs the whole matrix.
QUICK = {
    ("dense", "tp 2"),
    ("moe", "ep 4"),
    ("memory", "memory 4 columns"),
    ("pool", "memory 2 rows"),
    ("mixed", "dp_replicate 2 x dp_shard 2"),
    ("mixed", "memory 4 rows"),
    ("mixed", "ep 2 x dp_shard 4"),
    ("mixed", "memory 2 x tp 2"),
    ("mixed", "all of 8"),
    ("odd", "memory 2 rows x tp 2"),
    ("odd", "ep 2"),
}
# No memory exchange without a table, no exchange of rows without experts: the plan is another's.
NEEDS = {"ep": {"moe", "mixed", "odd"}, "memory": {"memory", "pool", "mixed", "odd"}}


def rows():
    """Every model with every plan that does something to it."""
    for model in MODELS:
        for plan, fields in PLANS.items():
            if all(model in able for axis, able in NEEDS.items() if axis in fields["mesh"]):
                slow = [] if (model, plan) in QUICK else [pytest.mark.slow]
                yield pytest.param(model, plan, marks=slow, id=f"{model}: {plan}")


@functools.cache
def known(model, dtype="float64"):
    return reference(load_document({**BASE, **MODELS[model]}), dtype)


def world_size(plan):
    mesh = PLANS[plan]["mesh"]
    return mesh.get("dp_replicate", 1) * mesh["dp_shard"] * mesh.get("tp", 1)


def check(model, deviations, tolerance, dtype="float64"):
    expected = known(model, dtype).loss
    loss = sum(one.loss for one in deviations) / len(deviations)
    assert abs(loss - expected) <= tolerance * abs(expected)
    for rank, one in enumerate(deviations):
        assert one.start == (), f"rank {rank}: first values differ"
        for what, ratios in (("gradient", one.gradients), ("parameter", one.end)):
            worst = max(ratios, key=ratios.__getitem__, default=None)
            if worst is not None:
                assert ratios[worst] <= tolerance, f"rank {rank}: {what} of {worst}"


@pytest.mark.parametrize(("model", "plan"), list(rows()))
def test_any_mesh_computes_what_one_rank_does(model, plan):
    found = run_on_threads(world_size(plan), deviation, known(model), plan_of(**PLANS[plan]))
    check(model, found, 1e-12)


@pytest.mark.parametrize("plan", ["dp_shard 4", "memory 2 rows x tp 2", "all of 8"])
def test_single_precision_is_close(plan):
    single = known("mixed", "float32")
    plan_ = plan_of("float32", **PLANS[plan])
    check("mixed", run_on_threads(world_size(plan), deviation, single, plan_, 1), 1e-5, "float32")


@pytest.mark.parametrize("plan", ["dp_shard 2", "ep 2", "tp 2", "memory 4 columns", "all of 8"])
@pytest.mark.parametrize("recompute", ["full", "selective"])
def test_recomputing_changes_nothing(plan, recompute):
    plan_ = plan_of(**PLANS[plan], recompute=recompute)
    found = run_on_threads(world_size(plan), deviation, known("mixed"), plan_, 1)
    check("mixed", found, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["memory 2 rows", "all of 8"])
def test_processes_compute_what_one_rank_does(plan):
    plan_ = plan_of(**PLANS[plan])
    check("mixed", run_on_processes(world_size(plan), deviation, known("mixed"), plan_), 1e-12)
