"""A ModelSpec back to text: the canonical flat form, its hash, and YAML that people can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from archspec.blocks.base import BlockConfig
from archspec.schema import Schema
from archspec.spec.model import LayerSpec, ModelSpec


def to_document(spec: ModelSpec, *, canonical: bool = False) -> dict[str, Any]:
    """Return a model document that resolves to ``spec``, with every default written out.

    Args:
        spec: The model.
        canonical: Name blocks by type and order of first use instead of their own names.
    """
    names = _block_names(spec, canonical=canonical)
    layers = [_slot(layer, names) for layer in spec.layers]
    attention = spec.layers[0].attention
    return {
        "archspec": 1,
        "kind": "model",
        "name": spec.name,
        "vocab_size": spec.vocab_size,
        "max_seq_len": spec.max_seq_len,
        "d_model": spec.d_model,
        "tie_embeddings": spec.tie_embeddings,
        "norm_eps": spec.norm_eps,
        "attention": attention.model_dump(),
        "pools": {name: _plain(pool) for name, pool in sorted(spec.pools.items())},
        "blocks": {name: _plain(config) for config, name in names.items()},
        "layers": layers,
    }


def spec_hash(spec: ModelSpec) -> str:
    """Return the identity of a design: one hash for every way to write it.

    Names of the model and of templates do not count; pool names do, as they name parameters.
    """
    document = to_document(spec, canonical=True)
    del document["name"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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


def _plain(config: Schema) -> dict[str, Any]:
    return config.model_dump()


def _block_names(spec: ModelSpec, *, canonical: bool) -> dict[BlockConfig, str]:
    """Give every distinct block config a name of its own, in order of first use."""
    names: dict[BlockConfig, str] = {}
    for layer in spec.layers:
        for config, own in zip(layer.blocks, layer.names, strict=True):
            if config not in names:
                wanted = config.type if canonical else own
                names[config] = _free_name(wanted, names.values())
    return names


def _free_name(wanted: str, taken: Iterable[str]) -> str:
    used, name, number = set(taken), wanted, 2
    while name in used:
        name, number = f"{wanted}_{number}", number + 1
    return name


def _slot(layer: LayerSpec, names: dict[BlockConfig, str]) -> str | list[str]:
    slot = [names[config] for config in layer.blocks]
    return slot[0] if len(slot) == 1 else slot


def _render(document: dict[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if key in ("pools", "blocks"):
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
