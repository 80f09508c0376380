"""Compose a document from its bases and from the command line; every value keeps its origin.

``extends`` names one file or several, read in order; maps merge deeply, anything else is replaced,
and null over a map removes it. ``vars`` is a place for YAML anchors and says nothing itself.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from archspec.errors import Place, Problem, SpecError, suggest
from archspec.spec.read import parse_tree, read_tree
from archspec.spec.tree import Node, describe

EXTENDS = "extends"
VARS = "vars"
MAX_BASES = 32

_STEP = re.compile(r"\.?(?P<key>[^.\[\]]+)|\[(?P<index>\d+)\]")


def compose(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Node:
    """Read a document with everything it extends, then apply ``path=value`` overrides.

    Raises:
        SpecError: If a file is missing or broken, if files extend each other in a circle, or if an
            override has no place.
    """
    root = _compose(pathlib.Path(path), ())
    for override in overrides:
        apply_override(root, override)
    return root


def _compose(path: pathlib.Path, chain: tuple[Place, ...]) -> Node:
    """Read one file and merge it over its bases; ``chain`` holds the `extends` that led here."""
    own = read_tree(path)
    if not isinstance(own.value, dict):
        return own
    extends, files = own.value.pop(EXTENDS, None), _Files(path, chain)
    own.value.pop(VARS, None)
    if extends is None:
        return own
    merged = Node({}, own.place)
    for place, base in files.named(extends):
        merge(merged, _compose(base, (*chain, place)), (*chain, place))
    merge(merged, own, (*chain, extends.place))
    return merged


class _Files:
    """The files that a document extends, held against the chain that led to it."""

    def __init__(self, path: pathlib.Path, chain: tuple[Place, ...]) -> None:
        self._path = path
        self._chain = chain

    def named(self, extends: Node) -> Iterator[tuple[Place, pathlib.Path]]:
        """Yield every base with the place that names it."""
        items = extends.value if isinstance(extends.value, list) else [extends]
        for item in items:
            if not isinstance(item.value, str):
                message = f"must be a path or a list of paths, but is {describe(item.plain())}"
                raise self._error(item.place, message)
            yield item.place, self._base(item.place, item.value)

    def _base(self, place: Place, name: str) -> pathlib.Path:
        base = self._path.parent / name
        if not base.is_file():
            raise self._error(place, f"no such file: {base}; paths start from this document")
        files = [pathlib.Path(step.file) for step in self._chain] + [self._path]
        if any(base.samefile(file) for file in files):
            raise self._error(place, f"{base} extends itself in a circle; break it")
        if len(files) > MAX_BASES:
            raise self._error(place, f"more than {MAX_BASES} documents extend each other")
        return base

    def _error(self, place: Place, message: str) -> SpecError:
        text = f"{message}{_through(self._chain)}"
        return SpecError([Problem(place, (EXTENDS,), text)])


def _through(chain: Iterable[Place]) -> str:
    steps = " -> ".join(map(str, chain))
    return f", reached through {steps}" if steps else ""


def merge(into: Node, over: Node, chain: tuple[Place, ...] = ()) -> None:
    """Lay the map ``over`` on the map ``into``, in place.

    A value of another type is a matter of the schema (a slot may be a name, a map or a list), but
    it remembers what it replaced and how, for the error that may come of it.
    """
    assert isinstance(into.value, dict), "only maps are merged"
    assert isinstance(over.value, dict), "only maps are merged"
    for key, node in over.value.items():
        below = into.value.get(key)
        if node.value is None and below is not None and isinstance(below.value, dict):
            del into.value[key], into.key_places[key]
            continue
        into.value[key] = node if below is None else _laid_over(below, node, chain)
        into.key_places[key] = over.key_places[key]


def _laid_over(below: Node, above: Node, chain: tuple[Place, ...]) -> Node:
    if isinstance(below.value, dict) and isinstance(above.value, dict):
        merged = below.copy()
        merge(merged, above, chain)
        return merged
    if type(below.value) is type(above.value):
        return above
    laid = above.copy()
    what = describe(below.plain())
    laid.replaces = f"it replaces {what} of {below.place}{_through(chain)}"
    return laid


def apply_override(root: Node, override: str) -> None:
    """Set one value in place, such as ``blocks.ffn.hidden_dim=4096`` or ``layers[3]=ffn``.

    Raises:
        SpecError: If the text has no ``=``, the value is no YAML, or the path leads nowhere.
    """
    label = f"--set {override}"
    target, found, text = override.partition("=")
    if not found or not target.strip():
        raise _bad(label, "must be PATH=VALUE, such as blocks.ffn.hidden_dim=4096")
    value = _value(text, label)
    steps = list(_steps(target.strip(), label))
    node = root
    while steps:
        step, steps = _next_step(node, steps)
        node = _descend(node, step, label, value if not steps else None)


def _next_step(node: Node, steps: list[str | int]) -> tuple[str | int, list[str | int]]:
    """Take one step off the path; a key that has dots itself, as in `vary`, is one step."""
    for length in range(len(steps), 1, -1):
        key = ".".join(map(str, steps[:length]))
        if isinstance(node.value, dict) and key in node.value:
            return key, steps[length:]
    return steps[0], steps[1:]


def _value(text: str, label: str) -> Node:
    if not text.strip():
        return Node(None, Place(label))
    try:
        return parse_tree(text, label)
    except SpecError as error:
        raise _bad(label, error.problems[0].message) from None


def _steps(target: str, label: str) -> Iterator[str | int]:
    position = 0
    while position < len(target):
        match = _STEP.match(target, position)
        if match is None:
            raise _bad(label, f"cannot read the path at {target[position:]!r}")
        yield match["key"].strip() if match["index"] is None else int(match["index"])
        position = match.end()


def _descend(node: Node, step: str | int, label: str, value: Node | None) -> Node:
    """Go one step down, creating maps on the way; at the end of the path put ``value``.

    What is passed is copied, for an alias may share it with another part of the document.
    """
    _check_step(node, step, label)
    if value is None:
        below = node.child(step)
        value = below.copy() if below is not None else Node({}, Place(label))
    if isinstance(node.value, list):
        assert isinstance(step, int), "checked above"
        node.value[step] = value
    elif isinstance(node.value, dict):
        node.value[step] = value
        node.key_places[step] = Place(label)
    return value


def _check_step(node: Node, step: str | int, label: str) -> None:
    if isinstance(node.value, list):
        if not isinstance(step, int) or step >= len(node.value):
            last = len(node.value) - 1
            raise _bad(label, f"a list is at {step!r}; give an index from [0] to [{last}]")
    elif not isinstance(node.value, dict):
        raise _bad(label, f"nothing can be set at {step!r} in {describe(node.plain())}")
    elif isinstance(step, int):
        raise _bad(label, f"a map is at [{step}]; give a key, {suggest('', node.value)}")


def _bad(label: str, message: str) -> SpecError:
    return SpecError([Problem(Place(label), (), message)])
