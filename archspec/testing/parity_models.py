"""Small models whose sizes do not divide by the meshes they are laid over."""

from __future__ import annotations

from archspec.testing.specs import Document

SMALL: Document = {
    "archspec": 1,
    "kind": "model",
    "vocab_size": 23,
    "max_seq_len": 8,
    "d_model": 12,
    "attention": {"num_heads": 4, "head_dim": 6},
    "pools": {"big": {"num_keys": 5, "value_dim": 10}},
    "blocks": {
        "experts": {"type": "moe", "num_experts": 5, "top_k": 2, "hidden_dim": 6},
        "shared": {
            "type": "shared_pool",
            "pool": "big",
            "num_heads": 2,
            "top_k": 3,
            "key_dim": 8,
        },
    },
    "layers": ["experts", "shared"],
}
