"""Small random spaces and objectives that need no training, for testing what searches them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from random import Random

import numpy as np

from archspec.cost.pricing import PriceSetting, price
from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.prices import SpacePrices
from archspec.search.space import Design, Space
from archspec.spec.load import load_hardware
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.search.variant import CountRule, Variant, contains
from archspec.testing.specs import load_document

SETTING = PriceSetting(micro_tokens=64)


def small_model(num_layers: int = 6, *, pools: int = 1, d_model: int = 16) -> ModelSpec:
    """Return a tiny model whose templates are of all four kinds, pool i read by ``shared<i>``."""
    shared = {
        f"shared{i}": {
            "type": "shared_pool", "pool": f"pool{i}", "num_heads": 2, "top_k": 4, "key_dim": 6
        }
        for i in range(pools)
    }  # fmt: skip
    return load_document(
        {
            "archspec": 1,
            "kind": "model",
            "name": "small",
            "vocab_size": 50,
            "max_seq_len": 32,
            "d_model": d_model,
            "attention": {"num_heads": 2},
            "pools": {f"pool{i}": {"num_keys": 16, "value_dim": 16} for i in range(pools)},
            "blocks": {
                "ffn": {"type": "dense", "hidden_dim": 40},
                "experts": {"type": "moe", "num_experts": 4, "top_k": 2, "hidden_dim": 24},
                "private": {
                    "type": "memory", "num_keys": 12, "value_dim": 16, "num_heads": 2,
                    "top_k": 4, "key_dim": 8,
                },
                **shared,
            },
            "layers": {"num_layers": num_layers, "default": "ffn"},
        }
    )  # fmt: skip


def space_over(
    base: ModelSpec,
    choices: Sequence[str],
    pool_sizes: dict[str, tuple[int, ...]],
    fixed: dict[int, str] | None = None,
) -> Space:
    """Return the space of these block names at every position, ``a+b`` being a sum."""

    def layer(choice: str) -> LayerSpec:
        names = tuple(choice.split("+"))
        blocks = tuple(base.templates[name] for name in names)
        return dataclasses.replace(base.layers[0], blocks=blocks, names=names)

    held = fixed or {}
    free = [layer(choice) for choice in choices]
    positions = ([layer(held[i])] if i in held else free for i in range(len(base.layers)))
    return Space([Variant(base=base, choices=tuple(map(tuple, positions)))], pool_sizes)


def allowed_designs(
    space: Space, bounds: Sequence[Bound], setting: PriceSetting = SETTING
) -> FeasibleSpace:
    """Return the members of a space under bounds."""
    return FeasibleSpace(space, prices_of(space, setting), bounds)


def random_setting(seed: int) -> PriceSetting:
    """Return circumstances under which the spaces of this module can be priced, with a device."""
    rng = Random(seed)
    mesh = {
        "dp_replicate": rng.choice([1, 2]),
        "dp_shard": rng.choice([1, 4]),
        "tp": rng.choice([1, 2]),
    }
    mesh["ep"] = rng.choice([1, 2]) if mesh["dp_shard"] > 1 else 1
    mesh["memory"] = rng.choice([1, 2, 4]) if mesh["dp_shard"] > 1 else 1
    plan = PlanSpec.model_validate(
        {
            "mesh": mesh,
            "recompute": rng.choice(["none", "selective", "full"]),
            "tables": {"shard": rng.choice(["rows", "columns"])},
            "precision": {"compute": rng.choice(["bfloat16", "float32"])},
        }
    )
    return PriceSetting(
        micro_tokens=rng.choice([32, 64]),
        tokens=10 ** rng.randint(3, 12),
        plan=plan if rng.random() < 0.8 else None,
        hardware=load_hardware("h100"),
    )


def prices_of(space: Space, setting: PriceSetting = SETTING) -> SpacePrices:
    """Return the prices of a space's designs."""
    return SpacePrices.of(with_plan(space, setting.plan), setting)


def with_plan(space: Space, plan: PlanSpec | None) -> Space:
    """Return a space whose variants have a plan."""
    variants = [dataclasses.replace(variant, plan=plan) for variant in space.variants]
    return Space(variants, space.pools)


def random_space(seed: int) -> Space:
    """Return a space of at most some thousand designs, with zero to two pools."""
    rng = Random(seed)
    pools = rng.randint(0, 2)
    base = small_model(rng.randint(2, 4), pools=pools)
    names = ["ffn", "experts", "private", *(f"shared{i}" for i in range(pools))]
    sums = [f"ffn+shared{i}" for i in range(pools)]
    if pools == 2:
        sums.append("shared0+shared1")
    choices = [*rng.sample(names, rng.randint(2, len(names))), *rng.sample(sums, len(sums) // 2)]
    rng.shuffle(choices)
    sizes = {
        f"pool{i}": tuple(rng.sample([8, 11, 16, 24], rng.randint(1, 3))) for i in range(pools)
    }
    fixed = {rng.randrange(len(base.layers)): rng.choice(names)} if rng.random() < 0.4 else {}
    return space_over(base, choices, sizes, fixed)


def random_ruled_space(seed: int) -> Space:
    """Return a space of one to three variants with ties, counts and forbidden neighbours."""
    rng = Random(seed)
    pools = rng.randint(0, 1)
    names = ["ffn", "experts", "private", *(f"shared{i}" for i in range(pools))]
    choices = rng.sample(names, rng.randint(2, len(names)))
    if pools and rng.random() < 0.5:
        choices.append("ffn+shared0")
    counted = rng.sample(choices[:2], rng.randint(0, 2))
    variants = []
    for number in range(rng.randint(1, 3)):
        base = small_model(rng.randint(2, 5), pools=pools, d_model=16 + 4 * number)
        plain = space_over(base, choices, {}).variants[0]
        depth = len(base.layers)
        layers = rng.sample(range(depth), depth)
        cut = rng.randint(2, depth)
        variants.append(
            dataclasses.replace(
                plain,
                settings={"d_model": base.d_model, "num_layers": depth},
                tied=(tuple(layers[:cut]),) if rng.random() < 0.5 else (),
                counts=tuple(_random_rule(rng, name, depth) for name in counted),
                forbidden=tuple(
                    (rng.choice(names), rng.choice(names)) for _ in range(rng.randint(0, 2))
                ),
            )
        )
    return Space(variants, {f"pool{i}": (8, 16) for i in range(pools)})


def _random_rule(rng: Random, name: str, depth: int) -> CountRule:
    least = rng.randint(0, depth // 2)
    return CountRule(name, least, rng.choice([None, rng.randint(least, depth)]))


def brute_designs(space: Space) -> list[Design]:
    """Return every design that keeps the rules, by trying all combinations one by one."""
    found: dict[Design, None] = {}
    for variant, part in enumerate(space.parts):
        for layers in itertools.product(*(range(len(choices)) for choices in part.choices)):
            if not _keeps(part.variant, part.layers(layers)):
                continue
            for sizes in itertools.product(*(range(len(sizes)) for sizes in space.pools.values())):
                found[space.normal(layers, sizes, variant)] = None
    return list(found)


def _keeps(variant: Variant, layers: Sequence[LayerSpec]) -> bool:
    counts = [sum(contains(layer, rule.name) for layer in layers) for rule in variant.counts]
    beside = [
        contains(one, first) and contains(other, second)
        for first, second in variant.forbidden
        for one, other in itertools.pairwise(layers)
    ]
    kept = (rule.holds(count) for rule, count in zip(variant.counts, counts, strict=True))
    return all(kept) and not any(beside)


def tight_bounds(space: Space, *, share: float, seed: int = 0) -> tuple[Bound, ...]:
    """Return FLOPs and memory bounds that together admit about ``share`` of a space."""
    prices = prices_of(space).prices(*space.draw(np.random.default_rng(seed), 50_000))
    names = ("flops_per_token", "device_bytes")
    columns = [Bound(name, "max", 0).column for name in names]
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        limits = [int(np.quantile(prices[:, column], middle)) for column in columns]
        kept = np.all(prices[:, columns] <= limits, axis=1).mean()
        low, high = (middle, high) if kept < share else (low, middle)
    limits = [int(np.quantile(prices[:, column], high)) for column in columns]
    return tuple(Bound(name, "max", limit) for name, limit in zip(names, limits, strict=True))


class SyntheticLoss:
    """A loss over designs that is additive with interactions of neighbours, and no training.

    Attributes:
        space: The designs it scores.
    """

    def __init__(self, space: Space, *, seed: int = 0, interaction: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.space = space
        shape = (len(space.choices), space.reads.shape[2])
        self._own = rng.normal(size=shape)
        self._pairs = interaction * rng.normal(size=(shape[1], shape[1]))
        self._pools = [0.5 * rng.normal(size=len(sizes)) for sizes in space.pools.values()]

    def __call__(self, design: Design) -> float:
        """Return the loss of a design."""
        own = sum(self._own[i, c] for i, c in enumerate(design.layers))
        pairs = zip(design.layers, design.layers[1:], strict=False)
        near = sum(self._pairs[a, b] for a, b in pairs)
        chosen = self.space.reads[:, np.arange(len(design.layers)), design.layers]  # [P, L]
        pools = sum(
            scores[size]
            for scores, size, reads in zip(self._pools, design.sizes, chosen, strict=True)
            if reads.any()
        )
        return float(own + near + pools)


def price_of(space: Space, design: Design, setting: PriceSetting = SETTING) -> dict[str, int]:
    """Price a design by the summary of its written-out model."""
    return price(space.model(design), setting)
