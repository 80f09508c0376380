"""The layout of every parameter of a model, by the name it has once the model is built."""

from __future__ import annotations

from archspec.blocks.layout import TP, ParameterLayout, vector, within
from archspec.blocks.pool import sharding as pool_sharding
from archspec.blocks.registry import sharding_of
from archspec.cost.summary import per_layer
from archspec.spec.model import LayerSpec, ModelSpec


def model_layouts(spec: ModelSpec) -> dict[str, ParameterLayout]:
    """Return every layout of a model, in the order in which its module has the parameters.

    Embedding and head are cut by the vocabulary, norms by nothing.
    """
    matrix = ParameterLayout(shape=(spec.vocab_size, spec.d_model), shard={TP: 0})
    found = {"embedding.weight": matrix}
    for name, pool in spec.pools.items():
        found |= within(f"pools.{name}", pool_sharding.layout(pool, spec.d_model))
    layers = per_layer(spec, lambda layer: layer_layouts(layer, spec))
    for index, layouts in enumerate(layers):
        found |= within(f"layers.{index}", layouts)
    found["norm.weight"] = vector(spec.d_model)
    return found if spec.tie_embeddings else {**found, "head.weight": matrix}


def layer_layouts(layer: LayerSpec, spec: ModelSpec) -> dict[str, ParameterLayout]:
    """Return the layouts of one layer; a pool that it reads is the model's."""
    scope = spec.scope
    found = {f"{name}.weight": vector(spec.d_model) for name in layer.norms(scope)}
    found |= within("attention", layer.attention.layout(spec.d_model))
    for index, block in enumerate(layer.blocks):
        found |= within(f"blocks.{index}", sharding_of(block.type).layout(block, scope))
    return found
