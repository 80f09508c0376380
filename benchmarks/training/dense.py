"""Dense models beside ``LlamaForCausalLM``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

from torch import nn

from archspec.bench.contest import OURS, Entrant
from archspec.compiler.compile import compile
from archspec.model.transformer import Transformer
from benchmarks.training.huggingface import common_settings, loaded, their_loss
from benchmarks.training.steps import adamw, batches, model_spec, our_loss, step_way
from benchmarks.training.tasks import TOLERANCES, Task

LLAMA = "Llama"


@dataclass(frozen=True, kw_only=True)
class DenseSize:
    """A Llama-like model and its batch."""

    d_model: int
    num_layers: int
    num_heads: int
    hidden_dim: int
    vocab_size: int
    rows: int
    seq_len: int


SIZES = (
    DenseSize(
        d_model=64,
        num_layers=6,
        num_heads=4,
        hidden_dim=256,
        vocab_size=2048,
        rows=16,
        seq_len=64,
    ),
    DenseSize(
        d_model=256,
        num_layers=6,
        num_heads=4,
        hidden_dim=688,
        vocab_size=8192,
        rows=4,
        seq_len=256,
    ),
    DenseSize(
        d_model=512,
        num_layers=8,
        num_heads=8,
        hidden_dim=1376,
        vocab_size=8192,
        rows=2,
        seq_len=256,
    ),
    DenseSize(
        d_model=768,
        num_layers=12,
        num_heads=12,
        hidden_dim=2048,
        vocab_size=8192,
        rows=1,
        seq_len=256,
    ),
)
QUICK = DenseSize(
    d_model=32, num_layers=2, num_heads=2, hidden_dim=48, vocab_size=64, rows=2, seq_len=16
)


def tasks(threads: tuple[int, ...], *, quick: bool) -> Iterator[Task]:
    """Declare all sizes in fp32, and the two in the middle in bf16 as well."""
    for size in (QUICK,) if quick else SIZES:
        for dtype in ("float32", "bfloat16"):
            if dtype == "bfloat16" and size not in (QUICK, *SIZES[1:3]):
                continue
            for count in threads:
                yield Task(
                    case="dense",
                    label=f"{size.d_model} x {size.num_layers}",
                    size={**asdict(size), "tokens": size.rows * size.seq_len},
                    dtype=dtype,
                    threads=count,
                    draw=partial(_draw, size, dtype),
                    tolerances=TOLERANCES[dtype],
                    packages=("transformers",),
                )


def _draw(size: DenseSize, dtype: str) -> tuple[Entrant, ...]:
    document = {
        "name": "dense",
        "vocab_size": size.vocab_size,
        "max_seq_len": size.seq_len,
        "d_model": size.d_model,
        "tie_embeddings": False,
        "attention": {"num_heads": size.num_heads},
        "blocks": {"ffn": {"type": "dense", "hidden_dim": size.hidden_dim}},
        "layers": {"num_layers": size.num_layers, "default": "ffn"},
    }
    model = compile(model_spec(document), dtype=dtype)
    theirs = _llama(model, size)  # while ours has its first weights
    inputs = batches(size.vocab_size, rows=size.rows, seq_len=size.seq_len)
    return (
        Entrant(name=OURS, enter=partial(step_way, our_loss(model), adamw(model), inputs)),
        Entrant(name=LLAMA, enter=partial(step_way, their_loss(theirs), adamw(theirs), inputs)),
    )


def _llama(model: Transformer, size: DenseSize) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**common_settings(model), intermediate_size=size.hidden_dim)
    return loaded(LlamaForCausalLM(config), model)
