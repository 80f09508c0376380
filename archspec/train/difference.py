"""Say in a line where two documents differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archspec.errors import Path, format_path

MOST_NAMED = 4


def describe_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Name the values that differ, ``layers[3].top_k: 4 here, 8 there``; empty if none does.

    Args:
        ours: Plain values, called "here".
        theirs: Plain values, called "there".
    """
    here, there = dict(_leaves(ours, ())), dict(_leaves(theirs, ()))
    paths = [path for path in {**here, **there} if here.get(path) != there.get(path)]
    named = [
        f"{format_path(path)}: {_value(here, path)} here, {_value(there, path)} there"
        for path in paths[:MOST_NAMED]
    ]
    more = [f"and {len(paths) - MOST_NAMED} more"] if len(paths) > MOST_NAMED else []
    return "; ".join(named + more)


def inline_layers(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat model document with each layer's blocks in place of their names."""
    blocks = document["blocks"]
    flat = {key: value for key, value in document.items() if key not in ("name", "blocks")}
    flat["layers"] = [
        blocks[slot] if isinstance(slot, str) else [blocks[name] for name in slot]
        for slot in document["layers"]
    ]
    return flat


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _leaves(entry, (*path, key))
    elif isinstance(value, list) and value:
        for index, entry in enumerate(value):
            yield from _leaves(entry, (*path, index))
    else:
        yield path, value


def _value(leaves: Mapping[Path, Any], path: Path) -> str:
    return str(leaves[path]) if path in leaves else "absent"
