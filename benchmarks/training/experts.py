"""Mixtures of experts beside Mixtral and Qwen2-MoE, in each way that transformers runs experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import nn

from archspec.bench.contest import OURS, Entrant
from archspec.compiler.compile import compile
from archspec.model.transformer import Transformer
from archspec.units import format_bytes
from benchmarks.training.huggingface import common_settings, loaded, their_loss
from benchmarks.training.steps import adamw, batches, model_spec, our_loss, step_way
from benchmarks.training.tasks import TOLERANCES, Task

# The rest of what 5.23 lists (deepgemm, sonicmoe) runs on GPUs only.
IMPLEMENTATIONS = ("grouped_mm", "batched_mm", "eager")
_MOST_BYTES = 1 << 30  # of weights that batched_mm copies in a layer: one set for every pair


@dataclass(frozen=True, kw_only=True)
class MoeSize:
    """A model, its batch, and whose architecture it has."""

    family: str
    d_model: int = 256
    num_layers: int = 4
    num_heads: int = 4
    vocab_size: int = 4096
    rows: int = 4
    seq_len: int = 256
    num_experts: int
    top_k: int
    hidden_dim: int
    shared_dim: int = 0

    @property
    def label(self) -> str:
        """Family and experts."""
        return f"{self.family}, {self.top_k} of {self.num_experts}, {self.hidden_dim} wide"

    @property
    def copied_bytes(self) -> int:
        """Bytes of the weights of every (token, expert) pair, in fp32."""
        pairs = self.rows * self.seq_len * self.top_k
        return 4 * pairs * 3 * self.d_model * self.hidden_dim


SIZES = (
    MoeSize(family="Mixtral", num_experts=8, top_k=2, hidden_dim=512),
    MoeSize(family="Qwen2-MoE", num_experts=32, top_k=4, hidden_dim=128, shared_dim=256),
    MoeSize(family="Mixtral", num_experts=64, top_k=8, hidden_dim=64),
    MoeSize(family="Qwen2-MoE", num_experts=64, top_k=8, hidden_dim=128, shared_dim=256),
)
QUICK = (
    MoeSize(
        family="Mixtral", d_model=32, rows=2, seq_len=16, num_experts=4, top_k=2, hidden_dim=16
    ),
    MoeSize(
        family="Qwen2-MoE",
        d_model=32,
        rows=2,
        seq_len=16,
        num_experts=4,
        top_k=2,
        hidden_dim=16,
        shared_dim=24,
    ),
)


def tasks(threads: tuple[int, ...], *, quick: bool) -> Iterator[Task]:
    """Declare all sizes in fp32, and the first in bf16 as well."""
    sizes = QUICK if quick else SIZES
    for size in sizes:
        for dtype in ("float32", "bfloat16") if size is sizes[0] else ("float32",):
            for count in threads:
                yield Task(
                    case="moe",
                    label=size.label,
                    size={**asdict(size), "tokens": size.rows * size.seq_len},
                    dtype=dtype,
                    threads=count,
                    draw=partial(_draw, size, dtype),
                    tolerances=TOLERANCES[dtype],
                    packages=("transformers",),
                )


def _draw(size: MoeSize, dtype: str) -> tuple[Entrant, ...]:
    model = compile(model_spec(_document(size)), dtype=dtype)
    inputs = batches(size.vocab_size, rows=size.rows, seq_len=size.seq_len)
    entrants = [Entrant(name=OURS, enter=partial(step_way, our_loss(model), adamw(model), inputs))]
    for name in IMPLEMENTATIONS:
        if name == "batched_mm" and size.copied_bytes > _MOST_BYTES:
            why = f"it would copy {format_bytes(size.copied_bytes)} of weights in every layer"
            entrants.append(Entrant(name=name, enter=_never, refusal=why))
            continue
        theirs = _theirs(size, model, name)  # while ours has its first weights
        enter = partial(step_way, their_loss(theirs), adamw(theirs), inputs)
        entrants.append(Entrant(name=name, enter=enter))
    return tuple(entrants)


def _never() -> Any:
    raise AssertionError("an entrant that is refused never enters")


def _document(size: MoeSize) -> dict[str, Any]:
    qwen = size.family != "Mixtral"
    shared = {"shared_hidden_dim": size.shared_dim, "shared_gate": True} if qwen else {}
    return {
        "name": "moe",
        "vocab_size": size.vocab_size,
        "max_seq_len": size.seq_len,
        "d_model": size.d_model,
        "tie_embeddings": False,
        "attention": {"num_heads": size.num_heads, "bias": "qkv" if qwen else "none"},
        "blocks": {
            "experts": {
                "type": "moe",
                "num_experts": size.num_experts,
                "top_k": size.top_k,
                "hidden_dim": size.hidden_dim,
                "normalize_scores": not qwen,
                **shared,
            }
        },
        "layers": {"num_layers": size.num_layers, "default": "experts"},
    }


def _theirs(size: MoeSize, model: Transformer, implementation: str) -> nn.Module:
    from transformers import (
        MixtralConfig,
        MixtralForCausalLM,
        Qwen2MoeConfig,
        Qwen2MoeForCausalLM,
    )

    settings = {**common_settings(model), "num_experts_per_tok": size.top_k}
    if size.family == "Mixtral":
        config = MixtralConfig(
            **settings, intermediate_size=size.hidden_dim, num_local_experts=size.num_experts
        )
        theirs = MixtralForCausalLM(config)
    else:
        config = Qwen2MoeConfig(
            **settings,
            intermediate_size=size.hidden_dim,
            moe_intermediate_size=size.hidden_dim,
            shared_expert_intermediate_size=size.shared_dim,
            num_experts=size.num_experts,
            norm_topk_prob=False,
        )
        theirs = Qwen2MoeForCausalLM(config)
    theirs.set_experts_implementation(implementation)
    return loaded(theirs, model)
