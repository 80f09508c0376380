"""A ModelSpec back to text: the canonical flat form, its hash, and YAML that people can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from archspec.blocks.base import BlockConfig
from archspec.spec.model import LayerSpec, ModelSpec

_Use = tuple[str, BlockConfig]


def to_document(spec: ModelSpec, *, canonical: bool = False) -> dict[str, Any]:
    """Return a model document that resolves to ``spec``, with every default written out.

    Args:
        spec: The model.
        canonical: Name blocks by type and order of first use instead of their own names.
    """
    keys = _block_keys(spec, canonical=canonical)
    slots = [[keys[use] for use in _uses(layer, canonical=canonical)] for layer in spec.layers]
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
        "pools": {name: pool.model_dump() for name, pool in sorted(spec.pools.items())},
        "blocks": {key: config.model_dump() for (_, config), key in keys.items()},
        "layers": [slot[0] if len(slot) == 1 else slot for slot in slots],
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


def _block_keys(spec: ModelSpec, *, canonical: bool) -> dict[_Use, str]:
    """Give every distinct block its key in `blocks`, in order of first use.

    Canonical keys merge equal blocks whatever their names; otherwise a name stays, and a block that
    was changed in place gets a number behind it.
    """
    keys: dict[_Use, str] = {}
    for layer in spec.layers:
        for use in _uses(layer, canonical=canonical):
            if use not in keys:
                keys[use] = _free_name(use[0], keys.values())
    return keys


def _uses(layer: LayerSpec, *, canonical: bool) -> Iterator[_Use]:
    for name, config in zip(layer.names, layer.blocks, strict=True):
        yield (config.type if canonical else name, config)


def _free_name(wanted: str, taken: Iterable[str]) -> str:
    used, name, number = set(taken), wanted, 2
    while name in used:
        name, number = f"{wanted}_{number}", number + 1
    return name


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
