"""Where every value of a document comes from: its file and line, or the default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from archspec.blocks.registry import config_class
from archspec.errors import Path, Place, format_path
from archspec.spec.attention import AttentionConfig
from archspec.spec.documents import DOCUMENTS
from archspec.spec.layers import expand
from archspec.spec.load import resolve
from archspec.spec.model import ModelDocument, ModelSpec
from archspec.spec.tree import Node
from archspec.spec.validate import Reporter


@dataclass(frozen=True, slots=True)
class Origin:
    """One value of a resolved document.

    Attributes:
        path: Where it stands in the document; for a layer, its index.
        value: What it is.
        place: Where it was written, None for a default.
    """

    path: str
    value: Any
    place: Place | None


def origins(root: Node) -> list[Origin]:
    """Return every value of a composed document, defaults filled in, in the order of the schema.

    The layers of a model come expanded, each with the place that put its block there.

    Raises:
        SpecError: With every problem of the document.
    """
    spec = resolve(root)
    kind = root.at(("kind",))
    assert kind is not None, "a document that resolves has a kind"
    schema, reporter = DOCUMENTS[str(kind.value)], Reporter(root)
    found: list[Origin] = []
    for name, value in reporter.validate_fields(schema).items():
        if schema is ModelDocument and name == "blocks":
            for block, raw in value.items():
                config = config_class(raw["type"]).model_validate(raw)
                found += _walk(root, ("blocks", block), config.model_dump())
        elif schema is ModelDocument and name == "layers":
            found += _layers(root, value, reporter)
        else:
            d_model = spec.d_model if isinstance(spec, ModelSpec) else 0
            found += _walk(root, (name,), _plain(value, d_model))
    return found


def _walk(root: Node, path: Path, value: Any) -> Iterator[Origin]:
    """Yield the scalars below a value; an empty map or list is one itself."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _walk(root, (*path, key), child)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _walk(root, (*path, index), item)
    else:
        node = root.at(path)
        yield Origin(format_path(path), value, None if node is None else node.place)


def _layers(root: Node, layers: Any, reporter: Reporter) -> Iterator[Origin]:
    for index, parts in enumerate(expand(layers, reporter)):
        names = [part.name for part in parts]
        place = root.place_of(parts[-1].path)
        yield Origin(f"layers[{index}]", names[0] if len(names) == 1 else names, place)


def _plain(value: Any, d_model: int) -> Any:
    """Return a field's value without classes; attention with what follows from the width."""
    if isinstance(value, AttentionConfig):
        value = value.resolved(d_model)
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: _plain(child, d_model) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, d_model) for item in value]
    return value
