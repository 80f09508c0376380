"""What each value that two models differ in does by itself, and what all do together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archspec.cost.summary import summarize
from archspec.errors import SpecError, format_path
from archspec.quantities import Cost
from archspec.spec.difference import ValueDifference, differences, exchanged
from archspec.spec.model import ModelSpec
from archspec.spec.resolve import resolve_model
from archspec.spec.tree import Node, Plain

COUNTED = (
    "num_params",
    "num_active_params",
    "flops_per_token",
    "table_bytes_per_token",
    "kv_bytes_per_token",
)
_SILENT = {("name",), ("archspec",), ("kind",)}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change adds to each counted quantity, and what the model had before."""

    added: dict[str, int]
    base: dict[str, int]

    @property
    def is_none(self) -> bool:
        """Tell whether nothing that is counted changes."""
        return not any(self.added.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that differs.

    Attributes:
        path: Where it stands in the document.
        before: The first document's value, None if it is absent there.
        after: The second document's value.
        origin_before: File and line, or ``absent``.
        origin_after: The same of the second document.
        effect: What the change does to the first model alone, None if it is not valid alone.
        problem: Why it is not valid alone.
    """

    path: str
    before: Plain
    after: Plain
    origin_before: str
    origin_after: str
    effect: Effect | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """Everything that two model documents differ in."""

    seq_len: int
    changes: tuple[Change, ...]
    total: Effect

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "seq_len": self.seq_len,
            "changes": [
                {
                    "path": change.path,
                    "before": change.before,
                    "after": change.after,
                    "origin_before": change.origin_before,
                    "origin_after": change.origin_after,
                    "alone": None if change.effect is None else change.effect.added,
                    "problem": change.problem or None,
                }
                for change in self.changes
            ],
            "together": self.total.added,
            "before": self.total.base,
        }


def model_difference(before: Node, after: Node) -> ModelDifference:
    """Compare two composed model documents value by value.

    FLOPs are counted at the longest sequence that both allow. The effects of single changes need
    not add up to that of all: two factors multiply.

    Raises:
        SpecError: If one of them is no valid model.
    """
    first, second = resolve_model(before), resolve_model(after)
    seq_len = min(first.max_seq_len, second.max_seq_len)
    base = _total(first, seq_len)
    changes = tuple(
        _change(before, difference, base, seq_len)
        for difference in differences(before, after)
        if difference.path not in _SILENT
    )
    return ModelDifference(
        seq_len=seq_len, changes=changes, total=_effect(base, _total(second, seq_len))
    )


def _total(spec: ModelSpec, seq_len: int) -> Cost:
    return summarize(spec, seq_len=seq_len).total


def _effect(base: Cost, changed: Cost) -> Effect:
    had = {name: getattr(base, name) for name in COUNTED}
    return Effect({name: getattr(changed, name) - had[name] for name in COUNTED}, had)


def _change(root: Node, difference: ValueDifference, base: Cost, seq_len: int) -> Change:
    effect, problem = None, ""
    try:
        changed = resolve_model(exchanged(root, difference.path, difference.after))
        effect = _effect(base, _total(changed, seq_len))
    except SpecError as error:
        first = error.problems[0]
        problem = f"{format_path(first.path)}: {first.message}"
    return Change(
        path=format_path(difference.path),
        before=_plain(difference.before),
        after=_plain(difference.after),
        origin_before=_origin(difference.before),
        origin_after=_origin(difference.after),
        effect=effect,
        problem=problem,
    )


def _plain(node: Node | None) -> Plain:
    return None if node is None else node.plain()


def _origin(node: Node | None) -> str:
    if node is None:
        return "absent"
    place = node.place
    return f"{place.file}:{place.line}" if place.line else place.file
