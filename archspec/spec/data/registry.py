"""Every kind of source, told apart by the one key that says where its data come from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from archspec.spec.data.facts import FactsSource
from archspec.spec.data.text import TextSource

Source = FactsSource | TextSource

# The key that a map must have, to the kind it means.
KEYS: dict[str, type[Source]] = {"task": FactsSource, "text": TextSource}


def _tag(value: Any) -> str | None:
    if isinstance(value, dict):
        given = [key for key in KEYS if key in value]
        return f"<{given[0]}>" if len(given) == 1 else None
    return next((f"<{key}>" for key, kind in KEYS.items() if isinstance(value, kind)), None)


SourceField = Annotated[
    Annotated[FactsSource, Tag("<task>")] | Annotated[TextSource, Tag("<text>")],
    Discriminator(
        _tag,
        custom_error_type="source",
        custom_error_message="must be a map with either `task:` or `text:`",
    ),
]
