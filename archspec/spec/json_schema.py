"""JSON Schema of each kind of document, from the same classes that check it.

Editors complete and check with it; what only the loader can know (placements that collide, sizes
that do not divide, names that do not exist) is beyond it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from archspec.blocks.base import BlockConfig
from archspec.blocks.registry import config_class, kinds
from archspec.spec.attention.registry import ATTENTIONS, DEFAULT_TYPE
from archspec.spec.compose import EXTENDS, VARS
from archspec.spec.depth import DepthRange, takes_range
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
        blocks = {name: config_class(name) for name in sorted(kinds())}
        schema["properties"]["blocks"]["additionalProperties"] = _one_of(blocks, schema["$defs"])
        attentions = _one_of(ATTENTIONS, schema["$defs"], default=DEFAULT_TYPE)
        templates = {"type": "object", "minProperties": 1, "additionalProperties": attentions}
        schema["properties"]["attention"] = {
            "description": schema["properties"]["attention"]["description"],
            "anyOf": [attentions, templates],
        }
        _define(DepthRange, schema["$defs"])
    tidy: Json = _tidy(schema)
    return tidy


def _one_of(
    types: Mapping[str, type[BaseModel]], definitions: Json, *, default: str | None = None
) -> Json:
    """Define configs that a `type` tells apart; return the schema of any of them."""
    for name, config in types.items():
        body = _define(config, definitions)
        body["properties"]["type"] = {"const": name, "description": "Which type this is."}
        required = [key for key in body.get("required", []) if key != "type"]
        body["required"] = required if name == default else ["type", *required]
        if issubclass(config, BlockConfig):
            _admit_ranges(config, body)
    return {"oneOf": [{"$ref": f"#/$defs/{config.__name__}"} for config in types.values()]}


def _define(config: type[BaseModel], definitions: Json) -> Json:
    """Add a config, and what it is made of, to the definitions; return its own."""
    body: Json = config.model_json_schema()
    definitions |= body.pop("$defs", {})
    definitions[config.__name__] = body
    return body


def _admit_ranges(config: type[BaseModel], body: Json) -> None:
    """Let whole numbers be maps over depth, in place."""
    for key, field in body["properties"].items():
        if takes_range(config, key):
            description = field.pop("description", "")
            branches = [field, {"$ref": f"#/$defs/{DepthRange.__name__}"}]
            body["properties"][key] = {"description": description, "anyOf": branches}


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
