"""The attention templates of a document: one for all layers, or several by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archspec.errors import Path, suggest
from archspec.spec.attention.base import AttentionConfig
from archspec.spec.attention.registry import ATTENTIONS, DEFAULT_TYPE
from archspec.spec.expand import LayerParts, Placed
from archspec.spec.tree import describe
from archspec.spec.validate import Reporter

_KEYS = frozenset(key for config in ATTENTIONS.values() for key in config.model_fields)
_OTHER_NAMES = {
    "mha": "multi-head attention is gqa without num_kv_heads",
    "mqa": "multi-query attention is gqa with num_kv_heads: 1",
}
ONLY = ""  # the name of the template of a document that does not name any


def holds_templates(raw: Mapping[str, Any]) -> bool:
    """Tell named templates from one attention, by the keys: a template is a map, a key is known."""
    return not _KEYS & raw.keys() and any(isinstance(value, dict) for value in raw.values())


class AttentionTemplates:
    """The attention templates of a document."""

    def __init__(self, raw: Mapping[str, Any], reporter: Reporter) -> None:
        self._reporter = reporter
        self._raw = dict(raw) if holds_templates(raw) else {ONLY: raw}
        self._parsed: dict[str, AttentionConfig] = {}
        for name, value in self._raw.items():
            config = self._parse(value, self._path(name))
            if config is not None:
                self._parsed[name] = config
        self._resolved: dict[str, AttentionConfig] = {}

    def _path(self, name: str) -> Path:
        return ("attention",) if name == ONLY else ("attention", name)

    @property
    def default(self) -> str:
        """The template of layers that name none."""
        return next(iter(self._raw))

    @property
    def configs(self) -> Mapping[str, AttentionConfig]:
        """The resolved templates by name."""
        return self._resolved

    def config(self, name: str) -> AttentionConfig:
        """Return a resolved template."""
        return self._resolved[name]

    def resolve(self, d_model: int) -> None:
        """Check the templates within the model and fill in what depends on it."""
        for name, config in self._parsed.items():
            faults = list(config.check(d_model))
            for fault in faults:
                self._reporter.report((*self._path(name), *fault.path), fault.message)
            if not faults:
                self._resolved[name] = config.resolved(d_model)

    def check_names(self, layers: Iterable[LayerParts]) -> None:
        """Report names that do not exist."""
        found = [layer.attention for layer in layers if layer.attention is not None]
        for placed in {placed.path: placed for placed in found}.values():
            self._check_name(placed)

    def _check_name(self, placed: Placed) -> None:
        if ONLY in self._raw:
            message = (
                f"unknown attention {placed.name!r}; none has a name: write attention: "
                f"{{{placed.name}: {{...}}}}, with one map per template"
            )
        elif placed.name not in self._raw:
            message = f"unknown attention {placed.name!r}; {suggest(placed.name, self._raw)}"
        else:
            return
        self._reporter.report(placed.path, message)

    def _parse(self, raw: object, path: Path) -> AttentionConfig | None:
        if not isinstance(raw, dict):
            self._reporter.report(path, f"must be a map, but is {describe(raw)}")
            return None
        kind = raw.get("type", DEFAULT_TYPE)
        if isinstance(kind, str) and kind in ATTENTIONS:
            return self._reporter.validate(ATTENTIONS[kind], raw, path)
        way_out = _OTHER_NAMES.get(str(kind)) or suggest(kind, ATTENTIONS)
        self._reporter.report(
            (*path, "type"), f"unknown attention type {describe(kind)}; {way_out}"
        )
        return None
