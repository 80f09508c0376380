"""Models of HuggingFace's transformers with our weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from archspec.model.transformer import Transformer
from benchmarks.training.steps import Loss

# Ours to theirs, inside a layer.
_LAYER = {
    "attention_norm.weight": "input_layernorm.weight",
    "block_norm.weight": "post_attention_layernorm.weight",
    "blocks.0.router.weight": "mlp.gate.weight",
    "blocks.0.shared_gate.weight": "mlp.shared_expert_gate.weight",
    **{
        f"attention.{ours}.{kind}": f"self_attn.{theirs}_proj.{kind}"
        for ours, theirs in {"query": "q", "key": "k", "value": "v", "output": "o"}.items()
        for kind in ("weight", "bias")
    },
    **{f"blocks.0.{name}.weight": f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")},
    **{
        f"blocks.0.shared.{name}.weight": f"mlp.shared_expert.{name}_proj.weight"
        for name in ("gate", "up", "down")
    },
}
_MODEL = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_EXPERTS = "blocks.0.experts."


def common_settings(model: Transformer) -> dict[str, Any]:
    """Return what every config of transformers calls the sizes of our model."""
    spec = model.spec
    attention: Any = spec.layers[0].attention
    return {
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.d_model,
        "num_hidden_layers": len(spec.layers),
        "num_attention_heads": attention.num_heads,
        "num_key_value_heads": attention.shape.num_kv_heads,
        "max_position_embeddings": spec.max_seq_len,
        "rms_norm_eps": spec.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": attention.rope_theta},
        "tie_word_embeddings": False,
        "use_cache": False,
        "attn_implementation": "sdpa",
    }


def loaded(theirs: nn.Module, model: Transformer) -> nn.Module:
    """Give their model our weights and dtype, every one of them."""
    weights = dict(_renamed(model.state_dict()))
    theirs.to(next(model.parameters()).dtype).load_state_dict(weights, strict=True)
    return theirs.train()


def their_loss(model: nn.Module) -> Loss:
    """Return the mean cross-entropy of all targets, by their own loss function."""

    def loss(token_ids: Tensor, targets: Tensor) -> Tensor:
        # Their labels are the inputs, of which they leave out the first; given as shifted, every
        # position has a target, as on our side.
        found: Tensor = model(input_ids=token_ids, labels=targets, shift_labels=targets).loss
        return found

    return loss


def _renamed(ours: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in ours.items():
        if name in _MODEL:
            yield _MODEL[name], tensor
            continue
        _, number, local = name.split(".", 2)
        layer = f"model.layers.{number}."
        if local == f"{_EXPERTS}gate":
            up = ours[name.replace("gate", "up")]
            joined = torch.cat((tensor.mT, up.mT), 1)  # [experts, 2 * hidden, d_model]
            yield f"{layer}mlp.experts.gate_up_proj", joined
        elif local == f"{_EXPERTS}down":
            yield f"{layer}mlp.experts.down_proj", tensor.mT.contiguous()
        elif local != f"{_EXPERTS}up":
            yield layer + _LAYER[local], tensor
