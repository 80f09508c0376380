"""What a model costs, layer by layer and in total, from its spec alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from archspec.blocks.base import BlockConfig, CostContext
from archspec.quantities import COST_FIELDS, DTYPE_BYTES, FREE, Cost
from archspec.spec.attention.base import AttentionConfig
from archspec.spec.dump import spec_hash
from archspec.spec.model import LayerSpec, ModelSpec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer: attention and blocks by name, and what it costs with its norms."""

    index: int
    attention: tuple[str, AttentionConfig]
    blocks: tuple[tuple[str, BlockConfig], ...]
    cost: Cost

    def same_kind(self, other: LayerCost) -> bool:
        """Tell whether two layers differ in nothing but their position."""
        return (self.attention, self.blocks, self.cost) == (
            other.attention,
            other.blocks,
            other.cost,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the model outside its layers: a pool, the embedding, the head, the last norm."""

    name: str
    size: str
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The books of one model; parts and layers add up to ``total`` exactly.

    Attributes:
        readers: Pool name to the layers that read it.
        conventions: How the numbers were counted, in one line per convention.
    """

    name: str
    spec_hash: str
    seq_len: int
    dtype: str
    layers: tuple[LayerCost, ...]
    pools: tuple[Part, ...]
    readers: dict[str, tuple[int, ...]]
    parts: tuple[Part, ...]
    total: Cost
    conventions: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "name": self.name,
            "spec_hash": self.spec_hash,
            "seq_len": self.seq_len,
            "dtype": self.dtype,
            **_plain(self.total),
            "layers": [
                {
                    "layer": layer.index,
                    "attention": {"name": layer.attention[0], **layer.attention[1].model_dump()},
                    "blocks": [
                        {"name": name, **config.model_dump()} for name, config in layer.blocks
                    ],
                    **_plain(layer.cost),
                }
                for layer in self.layers
            ],
            "pools": {
                pool.name: {"readers": list(self.readers[pool.name]), **_plain(pool.cost)}
                for pool in self.pools
            },
            "parts": {part.name: _plain(part.cost) for part in self.parts},
            "conventions": list(self.conventions),
        }


def _plain(cost: Cost) -> dict[str, int]:
    return {name: getattr(cost, name) for name in COST_FIELDS}


def summarize(
    spec: ModelSpec,
    *,
    seq_len: int | None = None,
    dtype: str = "bfloat16",
    causal: bool = True,
) -> Summary:
    """Price a model without building it.

    Args:
        spec: The model.
        seq_len: Tokens per sequence, for attention; default ``max_seq_len``.
        dtype: Element type of activations and tables, for bytes.
        causal: Count the causal half of the attention core, otherwise all of it.

    Raises:
        ValueError: If ``seq_len`` is not in 1..max_seq_len or ``dtype`` is unknown.
    """
    context = cost_context(spec, seq_len=seq_len, dtype=dtype, causal=causal)
    costs = per_layer(spec, lambda layer: layer_cost(layer, context))
    layers = tuple(
        LayerCost(
            index,
            (layer.attention_name, layer.attention),
            tuple(zip(layer.names, layer.blocks, strict=True)),
            cost,
        )
        for index, (layer, cost) in enumerate(zip(spec.layers, costs, strict=True))
    )
    pools = tuple(
        Part(name, pool.size(), pool.cost(spec.d_model)) for name, pool in spec.pools.items()
    )
    parts = tuple(model_parts(spec, context))
    return Summary(
        name=spec.name,
        spec_hash=spec_hash(spec),
        seq_len=context.seq_len,
        dtype=dtype,
        layers=layers,
        pools=pools,
        readers=_readers(spec),
        parts=parts,
        total=sum((*costs, *(part.cost for part in (*pools, *parts))), FREE),
        conventions=_conventions(context, dtype),
    )


def cost_context(
    spec: ModelSpec, *, seq_len: int | None = None, dtype: str = "bfloat16", causal: bool = True
) -> CostContext:
    """Fix the conventions for a model. Raises ValueError as ``summarize`` does."""
    length = spec.max_seq_len if seq_len is None else seq_len
    if not 1 <= length <= spec.max_seq_len:
        raise ValueError(
            f"seq_len must be between 1 and max_seq_len={spec.max_seq_len}, but is {length}"
        )
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPE_BYTES)}, but is {dtype!r}")
    return CostContext(
        scope=spec.scope,
        seq_len=length,
        table_element_bytes=DTYPE_BYTES[dtype],
        activation_element_bytes=DTYPE_BYTES[dtype],
        causal=causal,
    )


def frame_cost(layer: LayerSpec, context: CostContext) -> Cost:
    """Price what a layer has beside its blocks: attention and norms.

    Every part counts the input that autograd keeps for it; parts that share one keep it once, so
    the further copies come off here.
    """
    norms = norm_cost(context) * len(layer.norms(context.scope))
    width = context.scope.d_model * context.activation_element_bytes
    shared = Cost(activation_bytes_per_token=-_num_shared_inputs(layer, context) * width)
    return layer.attention.cost(context) + norms + shared


def _num_shared_inputs(layer: LayerSpec, context: CostContext) -> int:
    """Count the parts whose input another part of the layer keeps already."""
    readers = sum(not block.is_identity for block in layer.blocks)
    if context.scope.parallel:
        readers += not layer.attention.is_identity
    return max(0, readers - 1)


def norm_cost(context: CostContext) -> Cost:
    """Price one RMSNorm over the width of the model; it counts 0 FLOPs.

    Autograd keeps its input, the normalised input before the weight, and one fp32 scale per token,
    as torch's own implementation outside fused kernels does.
    """
    width = context.scope.d_model
    return Cost(
        num_params=width,
        num_active_params=width,
        activation_bytes_per_token=2 * width * context.activation_element_bytes + 4,
    )


def layer_cost(layer: LayerSpec, context: CostContext) -> Cost:
    """Price one layer; a pool that it reads is priced apart, once."""
    return sum((block.cost(context) for block in layer.blocks), frame_cost(layer, context))


def per_layer(spec: ModelSpec, price: Callable[[LayerSpec], T]) -> tuple[T, ...]:
    """Apply ``price`` to every layer, computing each distinct one once."""
    known: dict[LayerSpec, T] = {}
    for layer in spec.layers:
        if layer not in known:
            known[layer] = price(layer)
    return tuple(known[layer] for layer in spec.layers)


def total_cost(spec: ModelSpec, context: CostContext) -> Cost:
    """Price a whole model, without the books of its parts."""
    layers = per_layer(spec, lambda layer: layer_cost(layer, context))
    pools = (pool.cost(spec.d_model) for pool in spec.pools.values())
    return sum((*layers, *pools, *(part.cost for part in model_parts(spec, context))), FREE)


def model_parts(spec: ModelSpec, context: CostContext) -> Iterator[Part]:
    """Price what is outside layers and pools.

    The embedding is a look-up of 0 FLOPs; the head ``2 d V`` in full, with logits kept in fp32 for
    the loss. Both count as active in full, and once if tied.
    """
    matrix = spec.vocab_size * spec.d_model
    element = context.activation_element_bytes
    size = f"{spec.vocab_size} x {spec.d_model}"
    yield Part("embedding", size, Cost(num_params=matrix, num_active_params=matrix))
    yield Part("norm", f"{spec.d_model}", norm_cost(context))
    own = 0 if spec.tie_embeddings else matrix
    head = Cost(
        num_params=own,
        num_active_params=own,
        flops_per_token=2 * matrix,
        activation_bytes_per_token=spec.d_model * element + 4 * spec.vocab_size,
    )
    yield Part("head", "tied to the embedding" if spec.tie_embeddings else size, head)


def _readers(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    readers: dict[str, list[int]] = {name: [] for name in spec.pools}
    for index, layer in enumerate(spec.layers):
        for block in layer.blocks:
            if block.pool_name is not None:
                readers[block.pool_name].append(index)
    return {name: tuple(indices) for name, indices in readers.items()}


def _conventions(context: CostContext, dtype: str) -> tuple[str, ...]:
    core = "causal half of attention" if context.causal else "attention in full"
    return (
        f"FLOPs: forward, 2 per multiply-add, {core} at {context.seq_len} tokens, head in full, "
        "embedding and selection 0",
        "active: parameters one token uses; embedding, head and codebooks in full",
        f"bytes: {dtype}",
    )
