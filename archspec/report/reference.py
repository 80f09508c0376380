"""The reference pages of the language, written from the classes that check it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from archspec.blocks.registry import BLOCKS, config_class
from archspec.report.fields import FieldRow, field_rows, nested_schemas
from archspec.report.kinds import flatten
from archspec.spec.documents import DOCUMENTS

_NOTE = "<!-- Written by `make reference` from the schemas; a test fails when it is stale. -->"


def reference_pages() -> dict[str, str]:
    """Return every page by its file name."""
    pages = {f"{kind}.md": _page(kind) for kind in DOCUMENTS}
    return {"README.md": _index(), **pages, "blocks.md": _blocks_page()}


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
        "- [blocks](blocks.md): the kinds of block that a model is made of",
    ]
    return _joined(lines)


def _page(kind: str) -> str:
    schema = DOCUMENTS[kind]
    parts = [f"# `{kind}` documents", _NOTE, flatten(schema.__doc__ or ""), _table(schema)]
    for nested in nested_schemas(schema):
        parts += [f"## {nested.__name__}", flatten(nested.__doc__ or ""), _table(nested)]
    return _joined(parts)


def _blocks_page() -> str:
    parts = ["# Blocks", _NOTE, "The entries of `blocks` in a [model](model.md), by `type`."]
    for name in BLOCKS:
        config = config_class(name)
        parts += [f"## `{name}`", flatten(config.__doc__ or ""), _table(config)]
        for nested in nested_schemas(config):
            parts += [f"### {nested.__name__}", flatten(nested.__doc__ or ""), _table(nested)]
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
