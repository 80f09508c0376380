"""The errors archspec raises, and the exit status each one maps to on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

INTERRUPTED = 130  # the exit status of what a signal stopped

Path = tuple[str | int, ...]


def format_path(path: Path) -> str:
    """Write a path into a document the way people read it: ``layers.place.shared``, ``layers[3]``.

    >>> format_path(("layers", 3, "top_k"))
    'layers[3].top_k'
    """
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def suggest(name: object, known: Iterable[object]) -> str:
    """Return ``did you mean 'x'?`` if a known name is near, otherwise the list of known names."""
    names = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none are defined"


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1, and 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document: where, in which value, and rule, values and way out."""

    place: Place
    path: Path
    message: str

    def __str__(self) -> str:
        where = f"{self.place}: {format_path(self.path)}" if self.path else str(self.place)
        return f"{where}: {self.message}"


class ArchspecError(Exception):
    """Base of every error that bad input, a bad setting or the outside world can cause."""

    exit_status: ClassVar[int] = 2


class SpecError(ArchspecError, ValueError):
    """A document breaks the language. Carries every problem found, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique = dict.fromkeys(problems)  # in the order of finding, for those of one place
        self.problems: tuple[Problem, ...] = tuple(
            sorted(unique, key=lambda p: (p.place.file, p.place.line, p.place.column))
        )
        super().__init__("\n".join(map(str, self.problems)))


class BudgetError(ArchspecError, ValueError):
    """No design can meet the budgets; the message names the binding one and the least value."""


class SamplerError(ArchspecError, ValueError):
    """A sampler cannot search this space."""


class RunError(ArchspecError, RuntimeError):
    """A run directory cannot be used as asked: it exists, is missing, is busy or is damaged."""


class ObjectiveError(RunError):
    """A search's objective cannot judge: there is none, it raised, or it returned no number."""


class OtherRankError(RunError):
    """Another rank failed, and said why."""


class DataError(ArchspecError, ValueError):
    """Training data cannot be read or does not fit the model."""


class KernelError(ArchspecError, RuntimeError):
    """A kernel implementation was demanded that cannot run here."""


class BenchmarkError(ArchspecError, RuntimeError):
    """A benchmark cannot run as asked, or two ways of doing the same work disagree."""


class FairnessError(ArchspecError, RuntimeError):
    """Two trainings that are to be compared did not have the same conditions."""


class StoppedError(ArchspecError, RuntimeError):
    """Somebody asked the work to stop; it can be gone on with."""

    exit_status = INTERRUPTED


class DivergedError(ArchspecError, RuntimeError):
    """Training produced a loss that is not finite."""

    exit_status = 3
