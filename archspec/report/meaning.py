"""What a metric means, in words."""

from __future__ import annotations

import math

from archspec.spec.data.base import SourceConfig, TaskConfig
from archspec.spec.data.files import FilesSource

# Of a part of the questions: what stands before and after the words for all of them.
_PARTS = {
    "": ("", ""),
    "held_out": ("", ", in wordings never trained on"),
    "rare": ("the third seen least of ", ""),
    "medium": ("the middle third, by how often seen, of ", ""),
    "common": ("the third seen most of ", ""),
}
_LOSS = "nats per target over all sources, mixed as in training"


def meaning(name: str, value: float, source: SourceConfig | None) -> str:
    """Say what a metric means.

    Args:
        name: The whole of it, such as ``facts.accuracy.rare``.
        value: What was measured.
        source: The one it is of; None for ``loss``.
    """
    if source is None:
        return _LOSS
    kind, _, part = name.removeprefix(f"{source.name}.").partition(".")
    if isinstance(source, TaskConfig):
        return _of_task(kind, part, value, source)
    assert isinstance(source, FilesSource), f"{source.name} is neither a task nor files"
    return _of_text(kind, source.unit)


def source_of(name: str, sources: list[SourceConfig]) -> SourceConfig | None:
    """Return the source that a metric is of. The longest name wins, since names may hold dots."""
    fitting = [source for source in sources if name.startswith(f"{source.name}.")]
    return max(fitting, key=lambda source: len(source.name), default=None)


def _of_task(kind: str, part: str, value: float, source: TaskConfig) -> str:
    before, after = _PARTS[part]
    guessed = f"guessing would give {1 / source.num_choices:.1%}"
    if kind == "accuracy":
        return f"recalls {value:.1%} of {before}{source.asked}{after}; {guessed}"
    if kind == "nll":
        blind = math.log(source.num_choices)
        about = f" on {before}{source.asked}" if before else after
        return f"nats per answer{about}; guessing would give {blind:.2f}"
    if kind == "perplexity":
        return f"answers it is as unsure between; guessing would give {source.num_choices}"
    return f"accuracy of guessing among {source.num_choices} answers"


def _of_text(kind: str, unit: str) -> str:
    in_bytes = unit == "byte"
    if kind == "nll":
        blind = f"; guessing would give {math.log(256):.2f}" if in_bytes else ""
        return f"nats per {unit} of unseen text{blind}"
    if kind == "perplexity":
        return f"{unit}s it is as unsure between; guessing would give " + (
            "256" if in_bytes else "the size of the vocabulary"
        )
    return "bits per byte of unseen text; guessing would give 8"
