"""The block templates of a document: parsed, changed in place, sized by depth, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archspec.blocks.base import BlockConfig, Fault, ModelScope
from archspec.blocks.registry import config_class, kinds
from archspec.errors import Path, suggest
from archspec.spec.depth import DepthRange, depth_keys
from archspec.spec.expand import LayerParts, Placed
from archspec.spec.tree import describe
from archspec.spec.validate import Reporter


@dataclass(frozen=True, slots=True)
class _Declared:
    """One template, or one changed copy of it.

    Attributes:
        name: The template.
        path: Where the document declares it.
        raw: What it says, the template's keys included.
        config: Its config; sizes that change over depth are those of the first layer.
        ranges: Those sizes, with the path of the template or of the change that gives them: its
            layers are the ones that share the range.
    """

    name: str
    path: Path
    raw: Mapping[str, Any]
    config: BlockConfig
    ranges: Mapping[str, tuple[DepthRange, Path]]


class BlockTemplates:
    """The block templates of a document, and the changed copies that single layers use."""

    def __init__(self, raw: Mapping[str, Any], reporter: Reporter) -> None:
        self._raw = raw
        self._reporter = reporter
        self._templates: dict[str, _Declared] = {}
        self._changed: dict[Path, _Declared] = {}
        self._ranks: dict[Path, dict[int, int]] = {}  # the layers of each declaration, in order
        self._sized: dict[tuple[Path, tuple[int, ...]], BlockConfig] = {}
        for name in raw:
            declared = self._declare(name, {}, ("blocks", name))
            if declared is not None:
                self._templates[name] = declared

    @property
    def configs(self) -> dict[str, BlockConfig]:
        """The templates, used or not."""
        return {name: declared.config for name, declared in self._templates.items()}

    @property
    def graded(self) -> frozenset[str]:
        """The templates with sizes that change over depth."""
        return frozenset(name for name, declared in self._templates.items() if declared.ranges)

    def place(self, layers: Iterable[LayerParts]) -> None:
        """Take note of what stands where; parse changes, report names that do not exist."""
        for index, layer in enumerate(layers):
            for part in layer.blocks:
                self._place(part, index)
        for declared in self._all():
            self._check_ranges(declared)

    def _place(self, part: Placed, layer: int) -> None:
        if part.name not in self._raw:
            self._reporter.report(
                part.path, f"unknown block {part.name!r}; {suggest(part.name, self._raw)}"
            )
            return
        paths: list[Path] = [("blocks", part.name)]
        if part.changes:
            paths.append(part.path)
            if part.name in self._templates and part.path not in self._ranks:
                declared = self._declare(part.name, part.changes, part.path)
                if declared is not None:
                    self._changed[part.path] = declared
        for path in paths:
            ranks = self._ranks.setdefault(path, {})
            ranks.setdefault(layer, len(ranks))

    def config(self, part: Placed, layer: int) -> BlockConfig:
        """Return the config of a placed block in one layer."""
        declared = self._changed[part.path] if part.changes else self._templates[part.name]
        return self._config(declared, layer)

    def _config(self, declared: _Declared, layer: int) -> BlockConfig:
        if not declared.ranges:
            return declared.config
        values = {
            key: size.at(self._ranks[path][layer], len(self._ranks[path]))
            for key, (size, path) in declared.ranges.items()
        }
        key = (declared.path, tuple(values.values()))
        if key not in self._sized:
            config = self._reporter.validate(
                type(declared.config), {**declared.raw, **values}, declared.path
            )
            assert config is not None, "sizes between two valid ones are valid"
            self._sized[key] = config
        return self._sized[key]

    def all(self) -> list[tuple[Path, BlockConfig]]:
        """Return every declared config with the path that declares it."""
        return [(declared.path, declared.config) for declared in self._all()]

    def _all(self) -> list[_Declared]:
        return [*self._templates.values(), *self._changed.values()]

    def check(self, scope: ModelScope) -> None:
        """Report what the configs break inside the model, a template's fault once."""
        found: set[tuple[str, Fault]] = set()
        for declared in self._all():
            reported: set[Path] = set()
            for fault in self._faults(declared, scope):
                if (declared.name, fault) not in found and fault.path not in reported:
                    self._reporter.report((*declared.path, *fault.path), fault.message)
                found.add((declared.name, fault))
                if declared.ranges:  # one layer tells of all
                    reported.add(fault.path)

    def _faults(self, declared: _Declared, scope: ModelScope) -> Iterable[Fault]:
        layers = self._ranks.get(declared.path, {})
        if not declared.ranges or not layers or self._reporter.problems:
            yield from declared.config.check(scope)
            return
        for config in dict.fromkeys(self._config(declared, layer) for layer in layers):
            yield from config.check(scope)

    def _check_ranges(self, declared: _Declared) -> None:
        """Report ranges that stand in one layer, where they cannot have both their ends."""
        for key, (size, path) in declared.ranges.items():
            if declared.path == path and len(self._ranks.get(path, {})) == 1:
                self._reporter.report(
                    (*path, key),
                    f"{key} goes from {size.from_} to {size.to} over the layers where it stands, "
                    "but that is one layer; give a plain number",
                )

    def _declare(self, name: str, changes: Mapping[str, Any], path: Path) -> _Declared | None:
        template = self._raw[name]
        raw = {**template, **changes}
        schema = self._schema(raw, path)
        if schema is None:
            return None
        inherited = {} if not changes else self._templates[name].ranges
        first, last = dict(raw), dict(raw)
        ranges: dict[str, tuple[DepthRange, Path]] = {}
        for key in depth_keys(schema, raw):
            size = inherited[key] if key not in changes and key in inherited else None
            if size is None:
                parsed = self._range(raw[key], (*path, key))
                if parsed is None:
                    return None
                size = (parsed, path)
            ranges[key] = size
            first[key], last[key] = size[0].from_, size[0].to
        config = self._reporter.validate(schema, first, path)
        if ranges and config is not None and self._reporter.validate(schema, last, path) is None:
            return None
        return None if config is None else _Declared(name, path, raw, config, ranges)

    def _range(self, raw: object, path: Path) -> DepthRange | None:
        size = self._reporter.validate(DepthRange, raw, path)
        faults = [] if size is None else list(size.check())
        for fault in faults:
            self._reporter.report((*path, *fault.path), fault.message)
        return None if faults else size

    def _schema(self, raw: Mapping[str, Any], path: Path) -> type[BlockConfig] | None:
        kind = raw.get("type")
        if kind is None:
            message = f"required key 'type' is missing; {suggest('', kinds())}"
        elif not isinstance(kind, str) or kind not in kinds():
            path = (*path, "type")
            message = f"unknown block type {describe(kind)}; {suggest(kind, kinds())}"
        else:
            return config_class(kind)
        self._reporter.report(path, message)
        return None
