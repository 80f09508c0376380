"""Which values two documents differ in, and either document with one of them exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archspec.errors import Path
from archspec.spec.tree import Node


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """One value that differs; a map that only one document has is one value.

    Attributes:
        path: Where it stands.
        before: In the first document, None if it is absent.
        after: In the second document, None if it is absent.
    """

    path: Path
    before: Node | None
    after: Node | None


def differences(before: Node, after: Node, path: Path = ()) -> Iterator[ValueDifference]:
    """Yield what differs, maps key by key, lists of one length item by item."""
    if isinstance(before.value, dict) and isinstance(after.value, dict):
        for key in dict.fromkeys((*before.keys(), *after.keys())):
            yield from _differ(before.child(key), after.child(key), (*path, key))
    elif _same_length(before, after):
        assert isinstance(before.value, list), "checked by _same_length"
        for index in range(len(before.value)):
            yield from _differ(before.child(index), after.child(index), (*path, index))
    elif before.plain() != after.plain():
        yield ValueDifference(path, before, after)


def _differ(before: Node | None, after: Node | None, path: Path) -> Iterator[ValueDifference]:
    if before is not None and after is not None:
        yield from differences(before, after, path)
    else:
        yield ValueDifference(path, before, after)


def _same_length(before: Node, after: Node) -> bool:
    lists = isinstance(before.value, list) and isinstance(after.value, list)
    return lists and len(before.plain()) == len(after.plain())  # type: ignore[arg-type]


def exchanged(root: Node, path: Path, value: Node | None) -> Node:
    """Return a tree with the value at ``path`` replaced, or removed; the given tree stays."""
    if not path:
        assert value is not None, "a document cannot be removed"
        return value
    copy, (step, *rest) = root.copy(), path
    child = root.child(step)
    below = value if not rest else exchanged(_map_at(child, root), tuple(rest), value)
    if isinstance(copy.value, list):
        assert isinstance(step, int), "lists are compared item by item"
        assert below is not None, "lists of one length lose no item"
        copy.value[step] = below
    elif isinstance(copy.value, dict):
        if below is None:
            copy.value.pop(step, None)
            copy.key_places.pop(step, None)
        else:
            copy.value[step] = below
            copy.key_places.setdefault(step, below.place)
    return copy


def _map_at(child: Node | None, parent: Node) -> Node:
    return child if child is not None else Node({}, parent.place)
