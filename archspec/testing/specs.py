"""Random valid model documents, so that everything is tested on designs that nobody thought of.

Documents, and not specs: they pass the language on their way to a spec. All are small enough to
build, run and differentiate in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import yaml

from archspec.spec.model import ModelSpec
from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model
from archspec.testing.attention import random_attention

Document = dict[str, Any]


def random_spec(seed: int) -> ModelSpec:
    """Return the flat model of ``random_document(seed)``, by way of YAML text."""
    return load_document(random_document(seed))


def load_document(document: Mapping[str, Any]) -> ModelSpec:
    """Write a document as YAML and load it. Raises SpecError."""
    text = yaml.safe_dump(dict(document), sort_keys=False)
    return resolve_model(parse_tree(text, "document.yaml"))


def random_document(seed: int) -> Document:
    """Return a valid model document with every key off its default about as often as not."""
    rng = Random(seed)
    d_model = rng.randint(5, 40) if rng.random() < 0.5 else 12 * rng.randint(1, 3)
    document: Document = {"archspec": 1, "kind": "model"}
    _maybe(rng, document, "name", lambda: f"random-{seed}")
    document |= {
        "vocab_size": rng.randint(3, 70),
        "max_seq_len": rng.randint(1, 24),
        "d_model": d_model,
    }
    _maybe(rng, document, "tie_embeddings", lambda: True)
    _maybe(rng, document, "norm_eps", lambda: rng.choice([1e-6, 1e-4]))
    _maybe(rng, document, "norm_position", lambda: rng.choice(["post", "both"]))
    _maybe(rng, document, "parallel", lambda: True)
    attentions = {f"attention{i}": random_attention(rng, d_model) for i in range(rng.randint(1, 3))}
    named = len(attentions) > 1 or rng.random() < 0.2
    document["attention"] = attentions if named else attentions["attention0"]
    pools = {f"pool{i}": _pool(rng, d_model) for i in range(rng.randint(0, 2))}
    if pools:
        document["pools"] = pools
    document["blocks"] = _blocks(rng, d_model, pools)
    names, attention_names = list(document["blocks"]), list(attentions) if named else []
    if rng.random() < 0.65:
        document["layers"] = _placed(rng, names, attention_names)
    else:
        document["layers"] = _listed(rng, names, attention_names)
    return _graded(rng, document)


def _graded(rng: Random, document: Document) -> Document:
    """Let a size of some templates change over depth, where they stand in more than one layer."""
    layers = load_document(document).layers
    for name, block in document["blocks"].items():
        standing = sum(name in layer.names for layer in layers)
        if "hidden_dim" in block and standing != 1 and rng.random() < 0.3:
            block["hidden_dim"] = _range(rng)
    return document


def _range(rng: Random) -> Document:
    unit = rng.randint(1, 5)
    size: Document = {"from": unit * rng.randint(1, 5), "to": unit * rng.randint(1, 5)}
    return {**size, "round_to": unit} if unit > 1 else size


def _maybe(rng: Random, target: Document, key: str, value: Callable[[], Any]) -> None:
    """Set a key off its default, or leave it out."""
    if rng.random() < 0.5:
        target[key] = value()


def _pool(rng: Random, d_model: int) -> Document:
    num_keys = rng.randint(1, 12) if rng.random() < 0.8 else rng.randint(32, 35)
    pool: Document = {"num_keys": num_keys, "value_dim": _value_dim(rng, d_model)}
    _maybe(rng, pool, "expert", lambda: "rank1")
    return pool


def _value_dim(rng: Random, d_model: int) -> int:
    """Return d_model, where no output projection is needed, or another width."""
    return d_model if rng.random() < 0.5 else rng.randint(1, 40)


def _blocks(rng: Random, d_model: int, pools: Document) -> Document:
    """Return templates of every kind that can be, in random order; each pool has a reader."""
    blocks = {"ffn": _dense(rng), "experts": _moe(rng), "empty": {"type": "none"}}
    blocks["ngrams"] = _ngram(rng)
    table = _pool(rng, d_model)
    blocks["private"] = {"type": "memory", **table, **_lookup(rng, table["num_keys"])}
    for name, pool in pools.items():
        expert = {"expert": pool["expert"]} if "expert" in pool else {}
        reader = {"type": "shared_pool", "pool": name, **expert, **_lookup(rng, pool["num_keys"])}
        blocks[f"read_{name}"] = reader
    names = list(blocks)
    rng.shuffle(names)
    return {name: blocks[name] for name in names}


def _dense(rng: Random) -> Document:
    block: Document = {"type": "dense", "hidden_dim": rng.randint(1, 50)}
    _maybe(rng, block, "activation", lambda: rng.choice(["geglu", "gelu", "relu2"]))
    _maybe(rng, block, "bias", lambda: True)
    return block


def _moe(rng: Random) -> Document:
    block: Document = {"type": "moe", **_routes(rng), "hidden_dim": rng.randint(1, 20)}
    _maybe(rng, block, "activation", lambda: rng.choice(["geglu", "gelu", "relu2"]))
    _maybe(rng, block, "scores", lambda: "sigmoid")
    _maybe(rng, block, "routing_bias", lambda: True)
    _maybe(rng, block, "routed_scale", lambda: rng.choice([0.5, 2.5]))
    if block["top_k"] > 1:
        _maybe(rng, block, "normalize_scores", lambda: True)
    if rng.random() < 0.7:
        key = rng.choice(["num_shared_experts", "shared_hidden_dim"])
        block[key] = rng.randint(1, 3) if key == "num_shared_experts" else rng.randint(1, 40)
        _maybe(rng, block, "shared_gate", lambda: True)
    return block


def _routes(rng: Random) -> Document:
    """Return how many experts there are and how many a token may choose."""
    if rng.random() < 0.5:
        experts = rng.randint(1, 9)
        return {"num_experts": experts, "top_k": rng.randint(1, experts)}
    groups, size = rng.randint(3, 4), rng.randint(1, 3)
    chosen = rng.randint(1, groups - 1)
    top_k = rng.randint(1, chosen * size)
    counts = {"num_experts": groups * size, "top_k": top_k}
    return {**counts, "num_groups": groups, "top_groups": chosen}


def _ngram(rng: Random) -> Document:
    block: Document = {"type": "ngram", "slots": rng.randint(1, 50), "row_dim": rng.randint(1, 9)}
    _maybe(rng, block, "orders", lambda: sorted(rng.sample(range(1, 6), rng.randint(1, 3))))
    _maybe(rng, block, "num_heads", lambda: rng.choice([1, 2, 3]))
    _maybe(rng, block, "hash_seed", lambda: rng.randint(1, 9))
    return block


def _lookup(rng: Random, num_keys: int) -> Document:
    """Return the keys of a look-up; the default top_k of 32 is for large tables only."""
    block: Document = {"key_dim": 2 * rng.randint(1, 8)}
    if num_keys < 32 or rng.random() < 0.5:
        block["top_k"] = rng.randint(1, min(num_keys, 9))
    _maybe(rng, block, "num_heads", lambda: rng.choice([1, 2, 3]))
    _maybe(rng, block, "gate", lambda: "swilu")
    _maybe(rng, block, "qk_norm", lambda: True)
    _maybe(rng, block, "bias", lambda: False)
    return block


def _placed(rng: Random, names: list[str], attentions: list[str]) -> Document:
    """Return form 1: a default and one placement by a rule, or two by indices."""
    count = rng.randint(2, 8)
    layers: Document = {"num_layers": count, "default": _slot(rng, names)}
    first, second = rng.sample(names, 2)
    if rng.random() < 0.2:
        cut = rng.randrange(1, count)
        layers["place"] = {first: [f"0-{cut - 1}"], second: [cut]}
    elif rng.random() < 0.9:
        rule = _rule(rng, count)
        if "empty" not in (first, second):
            _maybe(rng, rule, "beside", lambda: second)
        layers["place"] = {first: rule}
    if attentions and rng.random() < 0.9:
        layers["attention"] = _placed_attention(rng, attentions, count)
    return layers


def _placed_attention(rng: Random, names: list[str], num_layers: int) -> Document:
    placed: Document = {}
    _maybe(rng, placed, "default", lambda: rng.choice(names))
    if rng.random() < 0.8:
        placed["place"] = {rng.choice(names): _rule(rng, num_layers)}
    return placed


def _rule(rng: Random, num_layers: int) -> Document:
    kind = rng.choice(["at", "ends", "every", "centered"])
    number = rng.randint(1, num_layers)
    if kind == "at":
        return {"at": rng.sample(range(num_layers), number)}
    if kind == "ends":
        cut = rng.randrange(1, num_layers)
        return rng.choice([{"first": cut}, {"last": cut}, {"first": cut, "last": num_layers - cut}])
    if kind == "every":
        rule: Document = {"every": number}
        if rng.random() < 0.7:
            rule["offset"] = rng.randrange(num_layers)
        return rule
    stride = {"stride": 1} if rng.random() < 0.8 else {}
    return {"centered": {"count": number, **stride}}


def _listed(rng: Random, names: list[str], attentions: list[str]) -> list[Any]:
    """Return form 2: slots, and groups that repeat."""

    def entry() -> Any:
        slot = _slot(rng, names)
        if attentions and rng.random() < 0.6:
            return {"block": slot, "attention": rng.choice(attentions)}
        return slot

    entries: list[Any] = [entry() for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.5:
        group = [entry() for _ in range(rng.randint(1, 2))]
        entries.insert(rng.randint(0, len(entries)), {"repeat": rng.randint(1, 3), "layers": group})
    if "ffn" in names and rng.random() < 0.5:
        entries.append({"block": "ffn", "hidden_dim": rng.randint(1, 50)})
    if "ffn" in names and rng.random() < 0.3:
        changed = {"block": "ffn", "hidden_dim": _range(rng)}
        entries.append({"repeat": rng.randint(2, 3), "layers": [changed]})
    return entries


def _slot(rng: Random, names: list[str]) -> Any:
    """Return a block, or a sum of blocks."""
    if rng.random() < 0.6:
        return rng.choice(names)
    return rng.choices([name for name in names if name != "empty"], k=rng.randint(1, 3))
