"""Random valid attention: every type, every key off its default about as often as not."""

from __future__ import annotations

from random import Random
from typing import Any

Document = dict[str, Any]


def random_attention(rng: Random, d_model: int) -> Document:
    """Return the declaration of one attention."""
    kind = rng.choices(["gqa", "mla", "none"], weights=[6, 2, 1])[0]
    if kind == "none":
        return {"type": "none"}
    return _mla(rng) if kind == "mla" else _gqa(rng, d_model)


def _gqa(rng: Random, d_model: int) -> Document:
    heads = rng.randint(1, 4)
    attention: Document = {"num_heads": heads}
    if rng.random() < 0.2:
        attention["type"] = "gqa"
    head_dim = d_model // heads
    if d_model % heads or rng.random() < 0.5:
        head_dim = attention["head_dim"] = rng.randint(1, 9)
    if rng.random() < 0.5:
        attention["num_kv_heads"] = rng.choice([n for n in range(1, heads + 1) if heads % n == 0])
    if rng.random() < 0.4:
        attention["window"] = rng.randint(1, 12)
    if rng.random() < 0.5:
        attention["bias"] = rng.choice(["qkv", "all"])
    if rng.random() < 0.5:
        attention["qk_norm"] = rng.choice(["head", "full"])
    if head_dim == 1 or rng.random() < 0.2:
        return {**attention, "rope_theta": None}
    if head_dim % 2 or rng.random() < 0.4:
        attention["rope_dim"] = 2 * rng.randint(1, head_dim // 2)
    return attention | _rope(rng)


def _mla(rng: Random) -> Document:
    attention = {
        "type": "mla",
        "num_heads": rng.randint(1, 4),
        "kv_lora_rank": rng.randint(1, 9),
        "nope_head_dim": rng.randint(1, 6),
        "rope_head_dim": 2 * rng.randint(1, 3),
        "value_head_dim": rng.randint(1, 6),
    }
    if rng.random() < 0.5:
        attention["q_lora_rank"] = rng.randint(1, 9)
    return attention | _rope(rng)


def _rope(rng: Random) -> Document:
    rope: Document = {}
    if rng.random() < 0.5:
        rope["rope_theta"] = rng.choice([500.0, 5e5])
    if rng.random() < 0.4:
        rope["rope_scaling"] = _scaling(rng)
    return rope


def _scaling(rng: Random) -> Document:
    kind = rng.choice(["linear", "llama3", "yarn"])
    scaling: Document = {"type": kind, "factor": rng.choice([1.0, 4.0, 32.0])}
    if kind == "linear":
        return scaling
    scaling["original_max_seq_len"] = rng.choice([8, 4096])
    if rng.random() < 0.5:
        scaling["low_turns"] = rng.choice([0.5, 2.0])
    if rng.random() < 0.5:
        scaling["high_turns"] = rng.choice([3.0, 8.0])
    if kind == "yarn" and rng.random() < 0.5:
        scaling["logit_scale"] = rng.choice([0.9, 1.3])
    return scaling
