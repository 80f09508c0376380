"""What a device has to do: FLOPs, and the bytes that pass its memory, part by part.

Conventions of the traffic, an estimate of what fused kernels move:

- a weight is read once in a pass, however many tokens the pass has; of experts and tables, those
  that the tokens are expected to meet, each choice uniform and independent;
- a vector that autograd would keep is written once and read once; shorter-lived ones never leave
  the chip, attention's scores above all;
- caches help nothing else, and nothing is overlapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from archspec.blocks.base import CostContext
from archspec.cost.summary import frame_cost, layer_cost, model_parts, per_layer
from archspec.spec.model import LayerSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """FLOPs and the bytes read or written for each reason; works add up and scale.

    Attributes:
        flops: 2 per multiply-accumulate.
        weight_bytes: Parameters other than table rows, and their gradients.
        table_bytes: Rows of value tables, and their gradients.
        kv_bytes: Keys and values of the cache.
        activation_bytes: Vectors passed from one kernel to a later one.
        state_bytes: Masters and optimizer state, in the update.
    """

    flops: float = 0.0
    weight_bytes: float = 0.0
    table_bytes: float = 0.0
    kv_bytes: float = 0.0
    activation_bytes: float = 0.0
    state_bytes: float = 0.0

    @property
    def moved_bytes(self) -> float:
        """All bytes together."""
        weights_and_rows = self.weight_bytes + self.table_bytes
        return weights_and_rows + self.kv_bytes + self.activation_bytes + self.state_bytes

    def __add__(self, other: Work) -> Work:
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})

    def __mul__(self, factor: float) -> Work:
        return Work(**{name: getattr(self, name) * factor for name in _FIELDS})


_FIELDS = tuple(field.name for field in fields(Work))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWork:
    """The work of one part of a model.

    Attributes:
        name: ``layer``, ``embedding``, ``norm``, ``head``, or ``update`` for the optimizer.
        index: The layer, None for another part.
        work: What it has to do.
    """

    name: str
    index: int | None = None
    work: Work


def layer_weights(layer: LayerSpec, context: CostContext, tokens: float) -> float:
    """Expect how many parameters, table rows apart, a pass of a layer over some tokens reads."""
    blocks = sum(block.touched_params(context, tokens) for block in layer.blocks)
    return frame_cost(layer, context).num_params + blocks


def layer_forward(
    layer: LayerSpec, context: CostContext, tokens: float, *, weight_bytes: float
) -> Work:
    """Estimate one forward pass of a layer over ``tokens`` tokens; every look-up reads its row."""
    cost = layer_cost(layer, context)
    return Work(
        flops=cost.flops_per_token * tokens,
        weight_bytes=layer_weights(layer, context, tokens) * weight_bytes,
        table_bytes=cost.table_bytes_per_token * tokens,
        kv_bytes=cost.kv_bytes_per_token * tokens,
        activation_bytes=2 * cost.activation_bytes_per_token * tokens,
    )


def layer_parts(spec: ModelSpec, work: Callable[[LayerSpec], Work]) -> tuple[PartWork, ...]:
    """Return the work of every layer as a part, computing each distinct layer once."""
    return tuple(
        PartWork(name="layer", index=index, work=found)
        for index, found in enumerate(per_layer(spec, work))
    )


def parts_forward(
    spec: ModelSpec, context: CostContext, tokens: float, *, weight_bytes: float
) -> Iterator[PartWork]:
    """Estimate the embedding, the last norm and the head; a tied head reads its matrix too."""
    matrix = spec.vocab_size * spec.d_model
    read = {"embedding": tokens * spec.d_model, "norm": spec.d_model, "head": matrix}
    for part in model_parts(spec, context):
        work = Work(
            flops=part.cost.flops_per_token * tokens,
            weight_bytes=read[part.name] * weight_bytes,
            activation_bytes=2 * part.cost.activation_bytes_per_token * tokens,
        )
        yield PartWork(name=part.name, work=work)


def total_work(parts: tuple[PartWork, ...]) -> Work:
    """Add up the work of all parts."""
    return sum((part.work for part in parts), Work())
