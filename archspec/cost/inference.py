"""Inference on one device: the cache, a prefill, and one step of decoding a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from archspec.blocks.base import CostContext
from archspec.cost.summary import total_cost
from archspec.cost.work import PartWork, Work, layer_forward, layer_parts, parts_forward
from archspec.spec.model import LayerSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceMemory:
    """Bytes on one device while decoding; activations of one token each are left out."""

    weights: float
    tables: float
    cache: float

    @property
    def total(self) -> float:
        """Everything together."""
        return self.weights + self.tables + self.cache


def inference_memory(
    spec: ModelSpec, context: CostContext, *, batch: int, length: int
) -> InferenceMemory:
    """Count the bytes of weights and of a cache for ``batch`` sequences of ``length`` tokens."""
    total = total_cost(spec, context)
    element = context.activation_element_bytes
    return InferenceMemory(
        weights=(total.num_params - total.num_table_params) * element,
        tables=total.num_table_params * context.table_element_bytes,
        cache=batch * sum(layer.attention.kv_bytes(length, element) for layer in spec.layers),
    )


def prefill_work(spec: ModelSpec, context: CostContext, *, batch: int) -> tuple[PartWork, ...]:
    """Estimate one pass over ``batch`` prompts of ``context.seq_len`` tokens each.

    The cache is written; the head runs on the last token of each prompt only.
    """
    tokens = batch * context.seq_len
    element = context.activation_element_bytes
    layers = layer_parts(
        spec, lambda layer: layer_forward(layer, context, tokens, weight_bytes=element)
    )
    first, *_ = parts_forward(spec, context, tokens, weight_bytes=element)
    _, *rest = parts_forward(spec, context, batch, weight_bytes=element)
    return (first, *layers, *rest)


def decode_work(spec: ModelSpec, context: CostContext, *, batch: int) -> tuple[PartWork, ...]:
    """Estimate one step: a next token for each of ``batch`` sequences with a filled cache.

    Args:
        spec: The model.
        context: Conventions; ``seq_len`` is the number of tokens that a query attends to, and the
            attention core counts in full, as there is no half to save.
        batch: Sequences decoded together; they share the weights that are read.
    """
    full = replace(context, causal=False)
    layers = layer_parts(spec, lambda layer: _decode_layer(layer, full, batch))
    element = context.activation_element_bytes
    first, *rest = parts_forward(spec, full, batch, weight_bytes=element)
    return (first, *layers, *rest)


def _decode_layer(layer: LayerSpec, context: CostContext, batch: int) -> Work:
    """Estimate a layer: look-ups of a batch that meet in a row read it once.

    A batch's rows fit a device's cache, other than those of a prefill or of training. A window
    attends to no more tokens than it sees, and its cache holds no more.
    """
    element, attention = context.activation_element_bytes, layer.attention
    seen = replace(context, seq_len=attention.cached_tokens(context.seq_len))
    forward = layer_forward(layer, seen, batch, weight_bytes=element)
    reads = [read for block in layer.blocks for read in block.table_reads(context)]
    rows = sum(read.rows(batch) * read.row_dim for read in reads)
    return replace(
        forward,
        table_bytes=rows * context.table_element_bytes,
        kv_bytes=batch * attention.kv_bytes(context.seq_len, element),
    )
