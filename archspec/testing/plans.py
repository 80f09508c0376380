"""Random plan documents that are right in themselves; they need not suit any one model."""

from __future__ import annotations

from random import Random
from typing import Any

import yaml

from archspec.spec.load import resolve_plan
from archspec.spec.plan import PlanSpec
from archspec.spec.read import parse_tree

Document = dict[str, Any]


def random_plan(seed: int, *, pools: tuple[str, ...] = ()) -> PlanSpec:
    """Return the plan of ``random_plan_document(seed)``, by way of YAML text."""
    text = yaml.safe_dump(random_plan_document(seed, pools=pools), sort_keys=False)
    return resolve_plan(parse_tree(text, "plan.yaml"))


def random_plan_document(seed: int, *, pools: tuple[str, ...] = ()) -> Document:
    """Return a plan of at most 32 ranks, every key off its default about as often as not."""
    rng = Random(seed)
    dp_shard = rng.choice([1, 2, 3, 4, 8])
    folds = [size for size in range(1, dp_shard + 1) if dp_shard % size == 0]
    memory = rng.choice(folds)
    mesh = {
        "dp_replicate": rng.choice([1, 1, 2]),
        "dp_shard": dp_shard,
        "tp": rng.choice([1, 1, 2]),
        "ep": rng.choice(folds),
        "memory": memory,
    }
    document: Document = {"archspec": 1, "kind": "plan", "mesh": mesh}
    if rng.random() < 0.5:
        document["precision"] = _precision(rng)
    if rng.random() < 0.5:
        document["recompute"] = rng.choice(["selective", "full"])
    if rng.random() < 0.5:
        document["tables"] = _table(rng, memory)
    if rng.random() < 0.5:
        document["pools"] = {name: _table(rng, memory) for name in pools if rng.random() < 0.7}
    if rng.random() < 0.2:
        document["compile"] = True
    return document


def _precision(rng: Random) -> Document:
    tables = rng.choice(["float32", "bfloat16"])
    precision = {"params": rng.choice(["float32", "float64"]), "tables": tables}
    if tables == "bfloat16" and rng.random() < 0.5:
        precision["table_rounding"] = "stochastic"
    return precision


def _table(rng: Random, memory: int) -> Document:
    table: Document = {}
    if rng.random() < 0.4:
        table["shard"] = rng.choice(["rows", "columns"])
    elif rng.random() < 0.5:
        rows = rng.choice([size for size in range(1, memory + 1) if memory % size == 0])
        table["shard"] = {"rows": rows, "columns": memory // rows}
    if rng.random() < 0.4:
        table["unit"] = rng.choice(["folded", "fsdp"])
    return table
