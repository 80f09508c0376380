"""YAML text to a tree: YAML 1.2 scalars, no duplicate keys, no tags, limits on size and aliases.

The tree is built from parser events, never by PyYAML's constructors, so no document can run code,
and limits hold while reading, not after.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Iterator

import yaml

from archspec.errors import Place, Problem, SpecError
from archspec.spec.tree import Node, Scalar

MAX_BYTES = 4 * 2**20
MAX_NODES = 200_000  # counted after aliases are expanded
MAX_DEPTH = 64

_EVENTS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_RADIX = re.compile(r"0o[0-7_]+|0x[0-9a-fA-F_]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 40  # longer runs of digits stay text: no number of ours needs them


def scalar_value(text: str) -> Scalar:
    """Resolve a plain scalar by the YAML 1.2 core schema, with ``_`` allowed between digits.

    >>> [scalar_value(t) for t in ("1e-4", "no", "2_000", "0x10", "~", "true")]
    [0.0001, 'no', 2000, 16, None, True]
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _MAX_DIGITS:
        return text
    digits = text.replace("_", "")
    if _INT.fullmatch(text):
        return int(digits)
    if _RADIX.fullmatch(text):
        return int(digits, 0)
    if _FLOAT.fullmatch(text):
        return float(digits)
    if special := _SPECIAL_FLOAT.fullmatch(text):
        return float("nan") if special[1] is None else float(f"{special[1]}inf")
    return text


def read_tree(path: str | pathlib.Path) -> Node:
    """Read one YAML file.

    Raises:
        SpecError: If the file cannot be read, is no YAML, or breaks a limit; all duplicate keys
            and tags of a file are reported together.
    """
    return parse_tree(_read_text(pathlib.Path(path)), str(path))


def parse_tree(text: str, file: str) -> Node:
    """Parse YAML text; ``file`` is the name used in places. Raises SpecError."""
    builder = _Builder(file)
    try:
        root = builder.build(yaml.parse(text, Loader=_EVENTS))
    except yaml.MarkedYAMLError as error:
        raise SpecError([*builder.problems, _syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        message = f"not readable as YAML: {error.reason} at character {error.position}"
        raise _failure(Place(file), message) from None
    if builder.problems:
        raise SpecError(builder.problems)
    if root is None:
        raise _failure(Place(file), "the file is empty; start it with `archspec: 1` and `kind:`")
    return root


def _failure(place: Place, message: str) -> SpecError:
    return SpecError([Problem(place, (), message)])


def _read_text(path: pathlib.Path) -> str:
    place = Place(str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _failure(place, "no such file; check the path") from None
    except IsADirectoryError:
        raise _failure(place, "is a directory; name a YAML file in it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _failure(place, f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise _failure(place, f"is larger than {MAX_BYTES // 2**20} MiB, the limit for a document")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _failure(
            place, f"is not UTF-8 text: byte 0x{data[error.start]:02x} on line {line}; is it YAML?"
        ) from None


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
    context = f" {error.context}" if error.context else ""
    return Problem(place, (), f"not valid YAML: {error.problem or 'syntax error'}{context}")


class _Builder:
    """Turns parser events into a tree, without recursion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0

    def build(self, events: Iterable[yaml.Event]) -> Node | None:
        """Consume the events of one document and return its root, None if there is none."""
        stream = iter(events)
        root: Node | None = None
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _failure(
                        self._place(event), "a second document starts here; use one file for each"
                    )
                root = self._document(stream)
        if root is not None and root.value is None and root.place.line:
            return None
        return root

    def _document(self, events: Iterator[yaml.Event]) -> Node:
        """Build one document with a stack of open collections and the keys they wait to fill."""
        open_nodes: list[tuple[Node, str | None, int]] = []
        keys: list[Node | None] = []
        for event in events:
            if isinstance(event, yaml.CollectionEndEvent):
                node, anchor, before = open_nodes.pop()
                keys.pop()
                if anchor is not None:
                    self._anchors[anchor] = (node, self._nodes - before)
            else:
                node = self._node(event)
                if isinstance(event, yaml.CollectionStartEvent):
                    open_nodes.append((node, event.anchor, self._nodes - 1))
                    keys.append(None)
                    if len(open_nodes) > MAX_DEPTH:
                        raise _failure(node.place, f"nested more than {MAX_DEPTH} levels deep")
                    continue
            if not open_nodes:
                return node
            keys[-1] = self._attach(open_nodes[-1][0], keys[-1], node)
        raise AssertionError("the parser ended inside a document")

    def _attach(self, parent: Node, key: Node | None, node: Node) -> Node | None:
        """Put a finished node into its parent; return the key that now waits for a value."""
        if isinstance(parent.value, list):
            parent.value.append(node)
            return None
        assert isinstance(parent.value, dict), "only lists and maps are open"
        if key is None:
            return node
        name = key.value
        if not isinstance(name, (str, int)) or isinstance(name, bool):
            self._report(key.place, "a key must be text or a whole number; quote it")
        elif name in parent.value:
            first = parent.key_places[name]
            self._report(
                key.place, f"duplicate key {name!r}, first given on line {first.line}; remove one"
            )
        else:
            parent.value[name] = node
            parent.key_places[name] = key.place
        return None

    def _node(self, event: yaml.Event) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), place)
        self._count(1, place)
        self._check_tag(event, place)
        if isinstance(event, yaml.ScalarEvent):
            value = scalar_value(event.value) if event.implicit[0] else event.value
            node = Node(value, place)
            if event.anchor is not None:
                self._anchors[event.anchor] = (node, 1)
            return node
        return Node({} if isinstance(event, yaml.MappingStartEvent) else [], place)

    def _alias(self, anchor: str, place: Place) -> Node:
        if anchor not in self._anchors:
            raise _failure(place, f"alias *{anchor} has no finished anchor &{anchor} before it")
        node, size = self._anchors[anchor]
        self._count(size, place)
        return node

    def _count(self, size: int, place: Place) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise _failure(
                place, f"more than {MAX_NODES} values once aliases are expanded; shorten the file"
            )

    def _check_tag(self, event: yaml.Event, place: Place) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            self._report(place, f"tags such as {tag!r} are not allowed; write the plain value")

    def _report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, (), message))

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None, "the parser marks every event"
        return Place(self.file, mark.line + 1, mark.column + 1)
