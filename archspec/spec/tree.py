"""A document as read: plain values that remember where in which file they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from archspec.errors import Path, Place

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str | int, "Plain"]


@dataclass(slots=True)
class Node:
    """A value and its place; the children of lists and maps are nodes themselves.

    Attributes:
        value: A scalar, or nodes.
        place: Where the value starts.
        key_places: For a map, where each key stands.
        replaces: What inherited value of another type this one replaced, in words.
    """

    value: Scalar | list[Node] | dict[str | int, Node]
    place: Place
    key_places: dict[str | int, Place] = field(default_factory=dict)
    replaces: str = ""

    def plain(self) -> Plain:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def copy(self) -> Node:
        """Return a node of its own over the same children."""
        if isinstance(self.value, dict):
            return Node(dict(self.value), self.place, dict(self.key_places))
        if isinstance(self.value, list):
            return Node(list(self.value), self.place)
        return Node(self.value, self.place)

    def child(self, step: str | int) -> Node | None:
        """Return the value under a key or an index, or None."""
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None

    def at(self, path: Path) -> Node | None:
        """Return the value at ``path``, or None."""
        node: Node | None = self
        for step in path:
            node = node.child(step) if node is not None else None
        return node

    def place_of(self, path: Path) -> Place:
        """Return where ``path`` stands: its key or list item, or the nearest parent that exists."""
        node, place = self, self.place
        for step in path:
            below = node.child(step)
            if below is None:
                return place
            place = node.key_places.get(step, below.place)
            node = below
        return place

    def keys(self) -> Iterator[str | int]:
        """Yield the keys, if this is a map."""
        if isinstance(self.value, dict):
            yield from self.value


def describe(value: object) -> str:
    """Name a value and its type the way an error message should."""
    kinds = {bool: "a boolean", int: "a whole number", float: "a number", str: "text"}
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value).lower()
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} ({kinds.get(type(value), type(value).__name__)})"
