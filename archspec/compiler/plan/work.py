"""What one rank computes and keeps, layer by layer: the model's prices, divided as tp divides them.

Expert and memory parallelism give a rank other tokens' work for its own, on average as much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from archspec.blocks.base import CostContext
from archspec.blocks.registry import sharding_of
from archspec.compiler.plan.sections import FRAME, Section
from archspec.cost.summary import frame_cost, model_parts
from archspec.cost.work import PartWork, Work
from archspec.quantities import DTYPE_BYTES, Cost
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.plan import PlanSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShare:
    """What a rank does in one layer.

    Attributes:
        cost: Per token of the rank.
        kept_bytes: Activations per token from the forward to the backward pass.
        rebuilt_bytes: Activations per token beside them while the layer is differentiated.
    """

    cost: Cost
    kept_bytes: int
    rebuilt_bytes: int


def layer_share(layer: LayerSpec, context: CostContext, plan: PlanSpec, tp: int) -> LayerShare:
    """Price what one of ``tp`` ranks does in a layer, under the plan's recompute."""
    attention = layer.attention.on_rank(tp)
    blocks = [sharding_of(block.type).rank_cost(block, context, tp) for block in layer.blocks]
    frame = frame_cost(dataclasses.replace(layer, attention=attention), context)
    cost = sum((block.cost for block in blocks), frame)
    saved = cost.activation_bytes_per_token
    if plan.recompute == "none":
        return LayerShare(cost=cost, kept_bytes=saved, rebuilt_bytes=0)
    kept = context.scope.d_model * context.activation_element_bytes
    if plan.recompute == "selective":
        kept += attention.kept_bytes(context) + sum(block.kept_bytes for block in blocks)
    return LayerShare(cost=cost, kept_bytes=kept, rebuilt_bytes=max(0, saved - kept))


def head_share(spec: ModelSpec, context: CostContext, tp: int) -> Cost:
    """Price last norm, head and logits on a rank: tp cuts the vocabulary."""
    norm, head = (part.cost for part in list(model_parts(spec, context))[1:])
    logits = 4 * spec.vocab_size
    width = head.activation_bytes_per_token - logits
    return norm + Cost(
        flops_per_token=head.flops_per_token // tp,
        activation_bytes_per_token=width - (-logits // tp),
    )


def activation_bytes(
    spec: ModelSpec, shares: dict[LayerSpec, LayerShare], head: Cost, tokens: int
) -> int:
    """Return a rank's activations at their peak, for ``tokens`` tokens of a micro-batch."""
    kept = sum(shares[layer].kept_bytes for layer in spec.layers)
    rebuilt = max((share.rebuilt_bytes for share in shares.values()), default=0)
    return tokens * (kept + rebuilt + head.activation_bytes_per_token)


def step_work(
    spec: ModelSpec,
    sections: tuple[Section, ...],
    shares: dict[LayerSpec, LayerShare],
    head: Cost,
    plan: PlanSpec,
    tokens: int,
) -> Iterator[PartWork]:
    """Yield a rank's work in one step of one micro-batch, conventions as ``cost.training`` has."""
    again = 1 if plan.recompute == "full" else 0
    weights = {section.layer: _weight_bytes(section, plan, 2 + again) for section in sections}
    for index, layer in enumerate(spec.layers):
        share = shares[layer].cost
        work = Work(
            flops=(3 + again) * share.flops_per_token * tokens,
            weight_bytes=weights[layer],
            table_bytes=(2 + again) * share.table_bytes_per_token * tokens,
            activation_bytes=(2.5 + again) * 2 * share.activation_bytes_per_token * tokens,
        )
        yield PartWork(name="layer", index=index, work=work)
    frame = next(section for section in sections if section.name == FRAME)
    work = Work(
        flops=3 * head.flops_per_token * tokens,
        weight_bytes=_weight_bytes(frame, plan, 2),
        activation_bytes=2.5 * 2 * head.activation_bytes_per_token * tokens,
    )
    yield PartWork(name=FRAME, work=work)


def _weight_bytes(section: Section, plan: PlanSpec, passes: int) -> int:
    """Return the bytes of reading a section's weights so often and writing its gradients once."""
    numel = sum(one.used_numel for one in section.parameters if not one.table)
    compute, gradients = plan.precision.compute, plan.precision.gradients
    return numel * (passes * DTYPE_BYTES[compute] + DTYPE_BYTES[gradients])
