"""Random search documents: what is listed, drawn and solved keeps to what the document says.

Rules are read again from the document by the kinds of blocks in the written-out model, and prices
are taken from its summary and its plan, so that nothing is checked against itself.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archspec.compiler.plan.make import make_plan
from archspec.cost.summary import cost_context, summarize
from archspec.cost.training import training_flops
from archspec.errors import BudgetError, SpecError
from archspec.search.achievable import check_achievable
from archspec.search.feasible import FeasibleSpace
from archspec.search.space import Design
from archspec.spec.dump import spec_hash, to_yaml
from archspec.spec.load import load_model, load_search
from archspec.spec.model import LayerSpec, ModelSpec

MODEL = """\
archspec: 1
kind: model
name: base
vocab_size: 64
max_seq_len: 32
d_model: 16
attention: {full: {num_heads: 2}, local: {num_heads: 2, window: 8}}
pools:
  big: {num_keys: 16, value_dim: 16}
  two: {num_keys: 8, value_dim: 16}
blocks:
  ffn: {type: dense, hidden_dim: 32}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 24}
  private: {type: memory, num_keys: 12, value_dim: 16, num_heads: 2, top_k: 4, key_dim: 8}
  here: {type: shared_pool, pool: big, num_heads: 2, top_k: 4, key_dim: 8}
  there: {type: shared_pool, pool: two, num_heads: 2, top_k: 4, key_dim: 8}
layers:
  num_layers: 6
  default: ffn
  place: {here: {centered: {count: 1}}, there: {last: 1}}
  attention: {default: full, place: {local: {every: 2}}}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 16, num_objects: 8}]
"""
PLAN = "archspec: 1\nkind: plan\nmesh: {dp_shard: 4, memory: 2}\n"
CHOICES: tuple[Any, ...] = (
    "ffn",
    {"block": "ffn", "hidden_dim": [16, 24]},
    "experts",
    "private",
    "here",
    "there",
    ["ffn", "here"],
    ["experts", {"block": "private", "num_keys": [8, 16]}],
)
NAMED = ("ffn", "experts", "private", "here", "there")
QUANTITIES = (
    "flops_per_token",
    "num_params",
    "num_active_params",
    "table_bytes_per_token",
    "kv_bytes_per_token",
    "device_bytes",
    "train_flops",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("documents")
    for name, text in (("model", MODEL), ("train", TRAIN), ("plan", PLAN)):
        (found / f"{name}.yaml").write_text(text)
    return found


def random_document(rng: random.Random) -> dict[str, Any]:
    chosen = sorted(rng.sample(range(len(CHOICES)), rng.randint(2, 5)))
    layers: dict[str, Any] = {"choices": [CHOICES[index] for index in chosen]}
    able = [name for name in NAMED if f"'{name}'" in repr(layers["choices"])]
    if rng.random() < 0.4:
        layers["attention"] = ["full", "local"]
        able += ["attention.full", "attention.local"]
    if rng.random() < 0.5:
        layers["fixed"] = {rng.choice([0, 1, -1]): rng.choice(NAMED)}
    if rng.random() < 0.4:
        layers["tied"] = rng.choice([[["2-3"]], [["2-4"]], {"repeat": 3}])
    if rng.random() < 0.5:
        least = rng.randint(0, 2)
        layers["counts"] = {rng.choice(able): {"min": least, "max": least + rng.randint(0, 3)}}
    if rng.random() < 0.5:
        layers["forbidden"] = [[rng.choice(able), rng.choice(able)]]
    document = {
        "archspec": 1,
        "kind": "search",
        "base": "model.yaml",
        "vary": {"layers": layers},
        "objective": {"train": "train.yaml"},
    }
    vary: dict[str, Any] = document["vary"]  # type: ignore[assignment]  # of a map of anything
    if "here" in able:
        vary["pools.big.num_keys"] = [8, 16, 32]
    if rng.random() < 0.4:
        vary["d_model"] = [16, 32]
    if rng.random() < 0.3:
        vary["num_layers"] = [5, 6]
    if rng.random() < 0.4:
        document["plan"] = "plan.yaml"
        vary["plan.recompute"] = ["none", "full"]
    return document


def with_budgets(document: dict[str, Any], allowed: FeasibleSpace, rng: random.Random) -> None:
    """Add budgets of every form that about half of all designs keep to."""
    rows = allowed.space.draw(np.random.default_rng(0), 200)
    prices = allowed.table.prices(*rows)
    budgets: dict[str, Any] = {}
    for quantity in rng.sample(QUANTITIES, 2):
        unit = allowed.table.unit(quantity)
        column = prices[:, allowed.table.quantities.index(quantity)].astype(float) * unit
        low, high = (int(np.quantile(column, share)) for share in (0.1, 0.8))
        form = rng.randrange(3)
        budgets[quantity] = ({"max": high}, [low, high + 1], {"min": low})[form]
    document["budgets"] = budgets


def kinds(layer: LayerSpec) -> set[str]:
    """What a layer contains, by the templates of the base."""
    names = {"dense": "ffn", "moe": "experts", "memory": "private"}
    pools = {"big": "here", "two": "there"}
    found = {names.get(block.type) or pools[str(block.pool_name)] for block in layer.blocks}
    window = getattr(layer.attention, "window")  # noqa: B009 - of one type of attention
    return found | {"attention.full" if window is None else "attention.local"}


def tied_groups(tied: Any, depth: int, fixed: set[int]) -> Iterator[list[int]]:
    if isinstance(tied, dict):
        for first in range(tied["repeat"]):
            yield [layer for layer in range(first, depth, tied["repeat"]) if layer not in fixed]
    for (text,) in tied if isinstance(tied, list) else ():
        first, last = map(int, text.split("-"))
        yield list(range(first, last + 1))


def check_rules(document: dict[str, Any], model: ModelSpec) -> None:
    """Hold a model to the rules of a document as a reader would."""
    rules, depth = document["vary"]["layers"], len(model.layers)
    found = [kinds(layer) for layer in model.layers]
    fixed = {index % depth: name for index, name in rules.get("fixed", {}).items()}
    for index, name in fixed.items():
        assert {kind for kind in found[index] if "." not in kind} == {name}
    for group in tied_groups(rules.get("tied"), depth, set(fixed)):
        assert len({model.layers[layer].blocks for layer in group}) <= 1
    for name, given_range in rules.get("counts", {}).items():
        count = sum(name in layer for layer in found)
        assert given_range["min"] <= count <= given_range["max"]
    for first, second in rules.get("forbidden", []):
        pairs = itertools.pairwise(found)
        assert not any(first in one and second in other for one, other in pairs)
    assert depth in document["vary"].get("num_layers", [6])
    assert model.d_model in document["vary"].get("d_model", [16])
    if "big" in model.pools:
        sizes = document["vary"].get("pools.big.num_keys", [16])
        assert model.pools["big"].num_keys in sizes


def printed(model: ModelSpec, allowed: FeasibleSpace, design: Design) -> dict[str, float]:
    """Return what ``summary`` and ``plan`` print for a model."""
    total = summarize(model).total
    plan = allowed.space.variants[design.variant].plan
    names = ("flops_per_token", "num_params", "num_active_params")
    found: dict[str, float] = {name: getattr(total, name) for name in names}
    found["table_bytes_per_token"] = total.table_bytes_per_token
    found["kv_bytes_per_token"] = total.kv_bytes_per_token
    recompute = "none" if plan is None else plan.recompute
    found["train_flops"] = 640 * training_flops(model, cost_context(model), recompute)
    if plan is not None:
        made = make_plan(model, plan, micro_tokens=model.max_seq_len, allow_oversize=True)
        found["device_bytes"] = made.largest.total
    return found


def check_budgets(document: dict[str, Any], prices: dict[str, float]) -> None:
    for quantity, budget in document["budgets"].items():
        sides = {"min": budget[0], "max": budget[1]} if isinstance(budget, list) else budget
        if quantity in prices:
            assert sides.get("min", 0) <= prices[quantity] <= sides.get("max", np.inf)


def some_of(allowed: FeasibleSpace, seed: int) -> set[Design]:
    """Return designs by every way that they are found."""
    rng, program = np.random.default_rng(seed), allowed.program
    found = set(allowed.select(*allowed.space.draw(rng, 50)))
    found = set(sorted(found, key=repr)[:4])
    if allowed.listed:
        found.add(allowed.listed[0])
        found.add(allowed.listed[int(rng.integers(len(allowed.listed)))])
    best = program.best(program.random(rng))
    assert best is not None, "some design fits"
    (drawn,) = allowed.space.designs(allowed.space.draw(rng, 1))
    nearest = program.nearest(drawn, rng, excluded=[best])
    return found | {best} | ({nearest} if nearest is not None else set())


def read(document: dict[str, Any], path: Path) -> FeasibleSpace:
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return FeasibleSpace.of(load_search(path))


def check_document(folder: Path, seed: int) -> bool:
    """Check the designs of a random document; tell whether it has any."""
    rng, path = random.Random(seed), folder / "search.yaml"
    document = random_document(rng)
    try:
        allowed = read(document, path)
        check_achievable(allowed)
    except (SpecError, BudgetError):  # rules at odds with each other
        return False
    with_budgets(document, allowed, rng)
    allowed = read(document, path)
    try:
        check_achievable(allowed)
    except BudgetError:
        assert not allowed.listed
        return False
    for design in some_of(allowed, seed):
        (folder / "written.yaml").write_text(to_yaml(allowed.space.model(design)))
        model = load_model(folder / "written.yaml")
        assert spec_hash(model) == allowed.space.hash(design)
        check_rules(document, model)
        prices, ours = printed(model, allowed, design), allowed.prices(design)
        assert {name: ours[name] for name in prices} == prices
        check_budgets(document, {**ours, **prices})
    return True


def test_designs_keep_to_their_document_and_cost_what_is_printed(folder: Path) -> None:
    assert sum(check_document(folder, seed) for seed in range(12)) >= 6


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 100_000))
def test_designs_keep_to_any_document(folder: Path, seed: int) -> None:
    check_document(folder, seed)
