"""JSON Schema of each kind of document, from the same classes that check it.

Editors complete and check with it; what only the loader can know (placements that collide, sizes
that do not divide, names that do not exist) is beyond it.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from archspec.blocks.registry import config_class, kinds
from archspec.spec.compose import EXTENDS, VARS
from archspec.spec.documents import DOCUMENTS

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PARTIAL = "Partial"

_COMPOSITION: Json = {
    EXTENDS: {
        "description": "One document or several that this one is laid over; paths start here.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    },
    VARS: {"description": "A place for YAML anchors; says nothing itself."},
}


def document_schema(kind: str) -> Json:
    """Return the JSON Schema of one kind of document. Raises KeyError for an unknown kind.

    A document that extends another may leave required keys to it, at any depth.
    """
    schema = _plain_schema(kind)
    definitions = schema.pop("$defs", {})
    schema["properties"] |= copy.deepcopy(_COMPOSITION)
    partial = {f"{_PARTIAL}{name}": _partial(body) for name, body in definitions.items()}
    return {
        "$schema": DIALECT,
        "title": f"archspec {kind} document",
        "description": schema.pop("description", ""),
        "type": "object",
        "if": {"required": [EXTENDS]},
        "then": _partial(schema),
        "else": schema,
        "$defs": definitions | partial,
    }


def _plain_schema(kind: str) -> Json:
    schema = DOCUMENTS[kind].model_json_schema()
    if kind == "model":
        blocks = {name: config_class(name).model_json_schema() for name in sorted(kinds())}
        for name, block in blocks.items():
            schema["$defs"] |= block.pop("$defs", {})
            block["properties"]["type"] = {"const": name, "description": "The kind of block."}
            block["required"] = ["type", *(k for k in block.get("required", []) if k != "type")]
            schema["$defs"][block["title"]] = block
        names = [block["title"] for block in blocks.values()]
        schema["properties"]["blocks"]["additionalProperties"] = {
            "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names]
        }
    tidy: Json = _tidy(schema)
    return tidy


def _tidy(value: Any) -> Any:
    """Drop pydantic's titles of single keys, which editors show in place of descriptions."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    is_field = "title" in value and "properties" not in value
    return {key: _tidy(item) for key, item in value.items() if not (is_field and key == "title")}


def _partial(value: Any) -> Any:
    """Return a schema without `required`, pointing at the partial definitions."""
    if isinstance(value, list):
        return [_partial(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "oneOf" in value:  # without `required`, several branches may match
        value = {"anyOf": value["oneOf"], **{k: v for k, v in value.items() if k != "oneOf"}}
    found = {key: _partial(item) for key, item in value.items() if key != "required"}
    reference = found.get("$ref")
    if isinstance(reference, str):
        found["$ref"] = reference.replace("#/$defs/", f"#/$defs/{_PARTIAL}")
    return found


def schema_text(kind: str) -> str:
    """Return the JSON Schema of one kind as it is written to files."""
    return json.dumps(document_schema(kind), indent=1, ensure_ascii=False) + "\n"
