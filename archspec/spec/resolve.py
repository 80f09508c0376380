"""A model document to a ModelSpec: templates, placements, pools and sizes checked together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archspec.blocks.base import BlockConfig, ModelScope
from archspec.errors import Path, suggest
from archspec.spec.expand import LayerParts, expand
from archspec.spec.model import LayerSpec, ModelDocument, ModelSpec
from archspec.spec.resolve_attention import AttentionTemplates
from archspec.spec.resolve_blocks import BlockTemplates
from archspec.spec.tree import Node
from archspec.spec.validate import Reporter

_COPIED = (
    "name",
    "vocab_size",
    "max_seq_len",
    "d_model",
    "tie_embeddings",
    "norm_eps",
    "norm_position",
    "parallel",
)


def resolve_model(root: Node) -> ModelSpec:
    """Return the flat model that a document declares.

    Raises:
        SpecError: With every problem of the document.
    """
    reporter = Reporter(root)
    fields = reporter.validate_fields(ModelDocument)
    blocks = BlockTemplates(fields.get("blocks", {}), reporter)
    layers = expand(fields["layers"], reporter) if "layers" in fields else []
    if "blocks" in fields:
        blocks.place(layers)
    attention = _resolve_attention(fields, layers, reporter)
    _check_pools(fields, blocks.all(), reporter)
    if "pools" in fields and "d_model" in fields and "vocab_size" in fields:
        blocks.check(_scope(fields, len(layers)))
    reporter.raise_problems()
    assert attention is not None, "a document without problems has attention"
    return _assemble(fields, attention, blocks, layers)


def _assemble(
    fields: Mapping[str, Any],
    attention: AttentionTemplates,
    blocks: BlockTemplates,
    parts: list[LayerParts],
) -> ModelSpec:
    layers = tuple(_layer(index, layer, attention, blocks) for index, layer in enumerate(parts))
    read = {block.pool_name for layer in layers for block in layer.blocks}
    return ModelSpec(
        **{name: fields[name] for name in _COPIED},
        pools={name: pool for name, pool in fields["pools"].items() if name in read},
        layers=layers,
        templates=blocks.configs,
        graded_templates=blocks.graded,
        template_pools=fields["pools"],
        attention_templates=attention.configs,
    )


def _layer(
    index: int, parts: LayerParts, attention: AttentionTemplates, blocks: BlockTemplates
) -> LayerSpec:
    name = attention.default if parts.attention is None else parts.attention.name
    return LayerSpec(
        attention=attention.config(name),
        blocks=tuple(blocks.config(part, index) for part in parts.blocks),
        names=tuple(part.name for part in parts.blocks),
        attention_name=name,
    )


def _scope(fields: Mapping[str, Any], num_layers: int) -> ModelScope:
    return ModelScope(
        d_model=fields["d_model"],
        num_layers=num_layers,
        vocab_size=fields["vocab_size"],
        pools=fields["pools"],
    )


def _resolve_attention(
    fields: Mapping[str, Any], layers: list[LayerParts], reporter: Reporter
) -> AttentionTemplates | None:
    if "attention" not in fields:
        return None
    attention = AttentionTemplates(fields["attention"], reporter)
    attention.check_names(layers)
    if "d_model" in fields:
        attention.resolve(fields["d_model"])
    return attention


def _check_pools(
    fields: Mapping[str, Any], blocks: Iterable[tuple[Path, BlockConfig]], reporter: Reporter
) -> None:
    """Report pools that no block reads, and blocks that read a pool that does not exist."""
    if "pools" not in fields or "blocks" not in fields:
        return
    pools, read = fields["pools"], set()
    for path, config in blocks:
        if config.pool_name is None:
            continue
        read.add(config.pool_name)
        if config.pool_name not in pools:
            message = f"unknown pool {config.pool_name!r}; {suggest(config.pool_name, pools)}"
            reporter.report((*path, "pool"), message)
    if reporter.problems:
        return  # a block that did not parse might be the reader
    for name in pools.keys() - read:
        reporter.report(
            ("pools", name), "no block reads this pool; add a shared_pool block or remove the pool"
        )
