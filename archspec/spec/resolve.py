"""A model document to a ModelSpec: templates, placements, pools and sizes checked together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archspec.blocks.base import BlockConfig, Fault, ModelScope
from archspec.blocks.registry import config_class, kinds
from archspec.errors import Path, suggest
from archspec.spec.attention import AttentionConfig
from archspec.spec.layers import LayerParts, Placed, expand
from archspec.spec.model import LayerSpec, ModelDocument, ModelSpec
from archspec.spec.tree import Node, describe
from archspec.spec.validate import Reporter

_COPIED = ("name", "vocab_size", "max_seq_len", "d_model", "tie_embeddings", "norm_eps")


def resolve_model(root: Node) -> ModelSpec:
    """Return the flat model that a document declares.

    Raises:
        SpecError: With every problem of the document.
    """
    reporter = Reporter(root)
    fields = reporter.validate_fields(ModelDocument)
    blocks = _Blocks(fields.get("blocks", {}), reporter)
    slots = expand(fields["layers"], reporter) if "layers" in fields else []
    if "blocks" in fields:
        slots = [blocks.resolve(parts) for parts in slots]
    attention = _resolve_attention(fields, reporter)
    _check_pools(fields, blocks.all(), reporter)
    if "pools" in fields and "d_model" in fields and "vocab_size" in fields:
        blocks.check(_scope(fields, len(slots)))
    reporter.raise_problems()
    assert attention is not None, "a document without problems has attention"
    return _assemble(fields, attention, blocks, slots)


def _assemble(
    fields: Mapping[str, Any], attention: AttentionConfig, blocks: _Blocks, slots: list[LayerParts]
) -> ModelSpec:
    layers = tuple(
        LayerSpec(
            attention=attention,
            blocks=tuple(blocks.config(part) for part in parts),
            names=tuple(part.name for part in parts),
        )
        for parts in slots
    )
    read = {block.pool_name for layer in layers for block in layer.blocks}
    return ModelSpec(
        **{name: fields[name] for name in _COPIED},
        pools={name: pool for name, pool in fields["pools"].items() if name in read},
        layers=layers,
        templates=blocks.templates,
        template_pools=fields["pools"],
    )


def _scope(fields: Mapping[str, Any], num_layers: int) -> ModelScope:
    return ModelScope(
        d_model=fields["d_model"],
        num_layers=num_layers,
        vocab_size=fields["vocab_size"],
        pools=fields["pools"],
    )


def _resolve_attention(fields: Mapping[str, Any], reporter: Reporter) -> AttentionConfig | None:
    attention, d_model = fields.get("attention"), fields.get("d_model")
    if attention is None or d_model is None:
        return None
    faults = list(attention.check(d_model))
    for fault in faults:
        reporter.report(("attention", *fault.path), fault.message)
    resolved: AttentionConfig = attention.resolved(d_model)
    return None if faults else resolved


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


class _Blocks:
    """The block templates of a document, and the changed copies that single layers use."""

    def __init__(self, raw: Mapping[str, Any], reporter: Reporter) -> None:
        self._raw = raw
        self._reporter = reporter
        self._changed: dict[Path, tuple[Placed, BlockConfig]] = {}
        self.templates: dict[str, BlockConfig] = {}
        for name, value in raw.items():
            config = self._parse(value, ("blocks", name))
            if config is not None:
                self.templates[name] = config

    def resolve(self, parts: LayerParts) -> LayerParts:
        """Parse the changes of a layer's blocks; report names that do not exist."""
        for part in parts:
            if part.name not in self._raw:
                self._reporter.report(
                    part.path, f"unknown block {part.name!r}; {suggest(part.name, self._raw)}"
                )
            elif part.changes and part.name in self.templates and part.path not in self._changed:
                config = self._parse({**self._raw[part.name], **part.changes}, part.path)
                if config is not None:
                    self._changed[part.path] = (part, config)
        return parts

    def config(self, part: Placed) -> BlockConfig:
        """Return the config of a resolved part."""
        return self._changed[part.path][1] if part.changes else self.templates[part.name]

    def all(self) -> list[tuple[Path, BlockConfig]]:
        """Return every distinct config with the path that declares it."""
        changed = [(path, config) for path, (_, config) in self._changed.items()]
        return [*((("blocks", name), c) for name, c in self.templates.items()), *changed]

    def check(self, scope: ModelScope) -> None:
        """Report what the configs break inside the model, a template's fault once."""
        found: set[tuple[str, Fault]] = set()
        for name, config in self.templates.items():
            for fault in config.check(scope):
                found.add((name, fault))
                self._reporter.report(("blocks", name, *fault.path), fault.message)
        for path, (part, config) in self._changed.items():
            for fault in config.check(scope):
                if (part.name, fault) not in found:
                    self._reporter.report((*path, *fault.path), fault.message)

    def _parse(self, raw: Mapping[str, Any], path: Path) -> BlockConfig | None:
        kind = raw.get("type")
        if kind is None:
            message = f"required key 'type' is missing; {suggest('', kinds())}"
        elif not isinstance(kind, str) or kind not in kinds():
            path = (*path, "type")
            message = f"unknown block type {describe(kind)}; {suggest(kind, kinds())}"
        else:
            return self._reporter.validate(config_class(kind), dict(raw), path)
        self._reporter.report(path, message)
        return None
