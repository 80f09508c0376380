"""A ModelSpec back to text: the canonical flat form, its hash, and YAML that people can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from archspec.blocks.base import BlockConfig
from archspec.spec.attention.base import AttentionConfig
from archspec.spec.model import LayerSpec, ModelDocument, ModelSpec
from archspec.spec.resolve_attention import holds_templates

_Use = tuple[str, BlockConfig | AttentionConfig]


def to_document(spec: ModelSpec, *, canonical: bool = False) -> dict[str, Any]:
    """Return a model document that resolves to ``spec``, with every default written out.

    Args:
        spec: The model.
        canonical: Name templates by type and order of first use instead of their own names.
    """
    return _document(spec, canonical=canonical, defaults=True)


def spec_hash(spec: ModelSpec) -> str:
    """Return the identity of a design: one hash for every way to write it.

    Names of the model and of templates do not count; pool names do, as they name parameters. Keys
    at their default do not count either, so that a key added to the language, whose default means
    what was meant before, changes no hash.
    """
    document = _document(spec, canonical=True, defaults=False)
    del document["name"]
    fields = ModelDocument.model_fields
    kept = {
        key: value
        for key, value in document.items()
        if fields[key].is_required() or value != fields[key].get_default(call_default_factory=True)
    }
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _document(spec: ModelSpec, *, canonical: bool, defaults: bool) -> dict[str, Any]:
    blocks = _keys(use for layer in spec.layers for use in _block_uses(layer, canonical=canonical))
    attentions = _keys(_attention_use(layer, canonical=canonical) for layer in spec.layers)
    templates = {key: _plain(config, defaults) for (_, config), key in attentions.items()}
    first = next(iter(templates))
    return {
        "archspec": 1,
        "kind": "model",
        "name": spec.name,
        "vocab_size": spec.vocab_size,
        "max_seq_len": spec.max_seq_len,
        "d_model": spec.d_model,
        "tie_embeddings": spec.tie_embeddings,
        "norm_eps": spec.norm_eps,
        "norm_position": spec.norm_position,
        "parallel": spec.parallel,
        "attention": templates if len(templates) > 1 else templates[first],
        "pools": {name: pool.model_dump() for name, pool in sorted(spec.pools.items())},
        "blocks": {key: _plain(config, defaults) for (_, config), key in blocks.items()},
        "layers": [
            _entry(
                [blocks[use] for use in _block_uses(layer, canonical=canonical)],
                attentions[_attention_use(layer, canonical=canonical)],
                default=first,
            )
            for layer in spec.layers
        ],
    }


def _plain(config: BlockConfig | AttentionConfig, defaults: bool) -> dict[str, Any]:
    return {"type": config.type, **config.model_dump(exclude_defaults=not defaults)}


def _entry(blocks: list[str], attention: str, *, default: str) -> Any:
    slot = blocks[0] if len(blocks) == 1 else blocks
    return slot if attention == default else {"block": slot, "attention": attention}


def to_yaml(spec: ModelSpec, *, canonical: bool = False, comment: str = "") -> str:
    """Write a spec as a model document.

    Args:
        spec: The model.
        canonical: As in ``to_document``.
        comment: Text for the head of the file, one comment line per line.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += _render(to_document(spec, canonical=canonical))
    return "\n".join(lines) + "\n"


def _keys(uses: Iterable[_Use]) -> dict[_Use, str]:
    """Give every distinct config its key among the templates, in order of first use.

    Canonical keys merge equal configs whatever their names; otherwise a name stays, and a block
    that was changed in place gets a number behind it.
    """
    keys: dict[_Use, str] = {}
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for use in uses:
        if use not in keys:
            name = use[0]
            while name in taken:
                numbers[use[0]] = numbers.get(use[0], 1) + 1
                name = f"{use[0]}_{numbers[use[0]]}"
            keys[use] = name
            taken.add(name)
    return keys


def _block_uses(layer: LayerSpec, *, canonical: bool) -> Iterator[_Use]:
    for name, config in zip(layer.names, layer.blocks, strict=True):
        yield (config.type if canonical else name, config)


def _attention_use(layer: LayerSpec, *, canonical: bool) -> _Use:
    name = layer.attention.type if canonical else layer.attention_name or layer.attention.type
    return (name, layer.attention)


def _render(document: dict[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if key in ("pools", "blocks") or (key == "attention" and holds_templates(value)):
            if value:
                yield from ("", f"{key}:")
                yield from (f"  {_scalar(name)}: {_flow(entry)}" for name, entry in value.items())
        elif key == "layers":
            yield from ("", "layers:")
            yield from (f"  - {_flow(slot)}" for slot in value)
        else:
            yield f"{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Write a value on one line; JSON scalars are YAML 1.2 scalars."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and value.replace("_", "a").replace("-", "a").isalnum():
        plain = value[0].isalpha() and value.lower() not in ("null", "true", "false")
        return value if plain and value.isascii() else json.dumps(value)
    return json.dumps(value)
