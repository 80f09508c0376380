"""Where every value of a document comes from: its file and line, or the default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from archspec.blocks.registry import config_class
from archspec.errors import Path, Place, format_path
from archspec.spec.documents import DOCUMENTS
from archspec.spec.expand import expand
from archspec.spec.load import resolve
from archspec.spec.model import ModelDocument
from archspec.spec.resolve_attention import AttentionTemplates
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
    resolve(root)
    kind = root.at(("kind",))
    assert kind is not None, "a document that resolves has a kind"
    schema, reporter = DOCUMENTS[str(kind.value)], Reporter(root)
    fields = reporter.validate_fields(schema)
    if schema is ModelDocument:
        return list(_model(root, fields, reporter))
    return [o for name, value in fields.items() for o in _walk(root, (name,), _plain(value))]


def _model(root: Node, fields: dict[str, Any], reporter: Reporter) -> Iterator[Origin]:
    for name, value in fields.items():
        if name == "blocks":
            for block, raw in value.items():
                yield from _walk(root, ("blocks", block), _with_defaults(raw))
        elif name == "attention":
            yield from _attention(root, value, fields["d_model"], reporter)
        elif name == "layers":
            yield from _layers(root, value, reporter)
        else:
            yield from _walk(root, (name,), _plain(value))


def _with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a block's keys, the absent ones by default; sizes over depth stay as written."""
    schema = config_class(raw["type"]).model_fields
    defaults = {name: field.get_default() for name, field in schema.items() if name not in raw}
    return {name: raw.get(name, defaults.get(name)) for name in schema}


def _attention(root: Node, raw: Any, d_model: int, reporter: Reporter) -> Iterator[Origin]:
    """Yield the templates, with what follows from the width of the model."""
    templates = AttentionTemplates(raw, reporter)
    templates.resolve(d_model)
    for name, config in templates.configs.items():
        path: Path = ("attention", name) if name else ("attention",)
        yield from _walk(root, path, config.model_dump())


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
    for index, layer in enumerate(expand(layers, reporter)):
        names = [part.name for part in layer.blocks]
        place = root.place_of(layer.blocks[-1].path)
        yield Origin(f"layers[{index}]", names[0] if len(names) == 1 else names, place)
        if layer.attention is not None:
            place = root.place_of(layer.attention.path)
            yield Origin(f"layers[{index}].attention", layer.attention.name, place)


def _plain(value: Any) -> Any:
    """Return a field's value without classes."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
