"""The reference pages of the language, written from the classes that check it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from archspec.blocks.registry import BLOCKS, config_class
from archspec.report.fields import FieldRow, field_rows, nested_schemas
from archspec.report.kinds import flatten
from archspec.spec.attention.registry import ATTENTIONS, DEFAULT_TYPE
from archspec.spec.documents import DOCUMENTS

_NOTE = "<!-- Written by `make reference` from the schemas; a test fails when it is stale. -->"


def reference_pages() -> dict[str, str]:
    """Return every page by its file name."""
    pages = {f"{kind}.md": _page(kind) for kind in DOCUMENTS}
    return {
        "README.md": _index(),
        **pages,
        "blocks.md": _types_page(
            "Blocks",
            "The entries of `blocks` in a [model](model.md), by `type`. A whole number may be a "
            "map `{from: 2048, to: 8192, round_to: 256}` instead: the size then goes evenly from "
            "one to the other over the layers in which the template stands, between them rounded "
            "to the nearest multiple of `round_to` (default 1).",
            {name: config_class(name) for name in BLOCKS},
        ),
        "attention.md": _types_page(
            "Attention",
            "The `attention` of a [model](model.md), or the templates in it, by `type`; "
            f"`{DEFAULT_TYPE}` when there is none.",
            ATTENTIONS,
        ),
    }


def _index() -> str:
    lines = [
        "# Reference",
        _NOTE,
        "Every document starts with `archspec: 1` and its `kind`. Any document may also have "
        "`extends` (a document or a list of documents that it is laid over: maps merge deeply, "
        "anything else is replaced, null over a map removes it) and `vars` (a place for YAML "
        "anchors).",
        "\n".join(
            f"- [`{kind}`]({kind}.md): {flatten(schema.__doc__ or '')}"
            for kind, schema in DOCUMENTS.items()
        ),
        "- [blocks](blocks.md): the kinds of block that a model is made of\n"
        "- [attention](attention.md): the types of attention",
    ]
    return _joined(lines)


def _page(kind: str) -> str:
    schema = DOCUMENTS[kind]
    parts = [f"# `{kind}` documents", _NOTE, flatten(schema.__doc__ or ""), _table(schema)]
    for nested in nested_schemas(schema):
        parts += [f"## {nested.__name__}", flatten(nested.__doc__ or ""), _table(nested)]
    return _joined(parts)


def _types_page(title: str, introduction: str, types: Mapping[str, type[BaseModel]]) -> str:
    parts = [f"# {title}", _NOTE, introduction]
    nested: dict[type[BaseModel], None] = {}
    for name, config in types.items():
        parts += [f"## `{name}`", flatten(config.__doc__ or ""), _table(config)]
        nested |= dict.fromkeys(nested_schemas(config))
    for schema in nested:
        parts += [f"## {schema.__name__}", flatten(schema.__doc__ or ""), _table(schema)]
    return _joined(parts)


def _table(schema: type[BaseModel]) -> str:
    return "\n".join(_rows(field_rows(schema)))


def _rows(rows: list[FieldRow]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for row in rows:
        cells = (f"`{row.key}`", row.type, row.default, row.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
