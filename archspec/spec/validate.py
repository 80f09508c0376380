"""Hold plain values against schemas and say what is wrong, where, and what would be right."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from archspec.errors import Path, Problem, SpecError, suggest
from archspec.schema import UNKNOWN_KEY
from archspec.spec.tree import Node, describe

S = TypeVar("S", bound=BaseModel)

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


class Reporter:
    """Collects every problem of one document, then raises them together."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.problems: list[Problem] = []

    def report(self, path: Path, message: str) -> None:
        """Note one problem; its place is that of ``path`` or of the nearest parent in the file."""
        node = self.root.at(path)
        if node is not None and node.replaces:
            message = f"{message} ({node.replaces})"
        self.problems.append(Problem(self.root.place_of(path), path, message))

    def raise_problems(self) -> None:
        """Raise SpecError if anything was reported."""
        if self.problems:
            raise SpecError(self.problems)

    def validate(self, schema: type[S], value: object, path: Path) -> S | None:
        """Return ``value`` as a ``schema``, or report what is wrong below ``path``."""
        valid: S | None = self._run(_adapter(schema), value, path)
        return valid

    def validate_fields(self, schema: type[BaseModel]) -> dict[str, Any]:
        """Validate the document's fields one by one, so that one bad field hides no other.

        Returns:
            The valid fields, with defaults for the absent ones; the bad ones are missing.
        """
        keys = self.root.value if isinstance(self.root.value, dict) else {}
        for key in keys:
            if key not in schema.model_fields:
                self.report((key,), f"unknown key {key!r}; {suggest(key, schema.model_fields)}")
        found: dict[str, Any] = {}
        for name, field in schema.model_fields.items():
            if name in keys:
                before = len(self.problems)
                value = self._run(_field_adapter(schema, name), keys[name].plain(), (name,))
                if len(self.problems) == before:
                    found[name] = value
            elif field.is_required():
                self.report((name,), _missing_key(name))
            else:
                found[name] = field.get_default(call_default_factory=True)
        return found

    def _run(self, adapter: TypeAdapter[Any], value: object, path: Path) -> Any:
        try:
            return adapter.validate_python(value, strict=True)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                steps = (step for step in detail["loc"] if not _is_tag(step))
                self.report((*path, *steps), _message(detail))
            return None


@functools.cache
def _adapter(schema: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


@functools.cache
def _field_adapter(schema: type[BaseModel], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(schema.model_fields[name].rebuild_annotation())


def _is_tag(step: str | int) -> bool:
    """Tell whether a step names a branch of a union (ours are ``<...>``) and not a key."""
    return isinstance(step, str) and (step.startswith("<") or step == "[key]")


def _missing_key(name: str) -> str:
    return f"required key {name!r} is missing; add it"


def _message(detail: ErrorDetails) -> str:
    """Say rule, value and way out for one pydantic error."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == UNKNOWN_KEY:
        return str(context["message"])
    if kind == "missing":
        return _missing_key(str(detail["loc"][-1]))
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, but is {describe(value)}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"must be {words} {context[bound]}, but is {value}"
    if kind == "too_short":
        return (
            f"must have at least {context['min_length']} item, but has {context['actual_length']}"
        )
    if kind == "too_long":
        return (
            f"must have at most {context['max_length']} items, but has {context['actual_length']}"
        )
    if kind == "literal_error":
        return f"must be one of {context['expected']}, but is {describe(value)}"
    if kind == "value_error":
        return str(context["error"])
    return f"{detail['msg']}, but is {describe(value)}"
