"""The user's own objective: a function that the command line names, and no document can.

It is called as ``function(spec, seed, fidelity)`` with a ModelSpec, the seed of everything that is
random, and a Fidelity whose ``tokens`` say how much training the search's rung allows. It returns
a number, or a map of names to numbers that has the search's metric among them. It may raise
DivergedError for a design that cannot be trained.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from archspec.errors import ArchspecError, DivergedError, ObjectiveError, suggest
from archspec.search.fidelity import Fidelity
from archspec.search.objective import Outcome
from archspec.spec.model import ModelSpec
from archspec.spec.search.spec import SearchSpec

ENTRY_POINT_GROUP = "archspec.objectives"
Function = Callable[[ModelSpec, int, Fidelity], Any]


class UserObjective:
    """Judges by a function.

    Args:
        function: As the module says.
        label: How the command line named it, for messages.
        metric: What the search improves; a number that is returned is its value.
        tokens: What the fidelity says where there are no rungs.
    """

    def __init__(self, function: Function, label: str, metric: str, *, tokens: int) -> None:
        self._function = function
        self._label = label
        self._metric = metric
        self._tokens = tokens

    @classmethod
    def of(cls, spec: SearchSpec, label: str) -> UserObjective:
        """Return the function of a label for a search. Raises ObjectiveError."""
        return cls(find_function(label), label, spec.metric, tokens=spec.train.tokens)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be sent to worker processes by label: they find the function as this one did."""
        return _again, (self._label, self._metric, self._tokens)

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Call the function.

        Raises:
            ObjectiveError: It raised, or what it returned is no number.
            DivergedError: It raised that, or returned a number that is not finite.
        """
        began = time.perf_counter()
        asked = fidelity or Fidelity()
        asked = replace(asked, tokens=asked.tokens or self._tokens)
        try:
            returned = self._function(spec, seed, asked)
        except ArchspecError:
            raise
        except Exception as error:
            raise ObjectiveError(f"--objective {self._label}: {_last_frame(error)}") from error
        metrics = self._metrics(returned)
        value = metrics[self._metric]
        if not math.isfinite(value):
            raise DivergedError(f"the objective's {self._metric} is {value}")
        return Outcome(value=value, metrics=metrics, seconds=time.perf_counter() - began)

    def _metrics(self, returned: object) -> dict[str, float]:
        given = returned if isinstance(returned, Mapping) else {self._metric: returned}
        if self._metric not in given:
            raise ObjectiveError(
                f"--objective {self._label}: returned {', '.join(map(str, given)) or 'nothing'}, "
                f"but the search improves {self._metric!r}; return it too, or change "
                "objective.metric"
            )
        found = {}
        for name, value in given.items():
            number = _number(value)
            if number is None:
                raise ObjectiveError(
                    f"--objective {self._label}: returned {value!r} for {name!r}; return a number, "
                    "or a map of names to numbers"
                )
            found[str(name)] = number
        return found


def _again(label: str, metric: str, tokens: int) -> UserObjective:
    return UserObjective(find_function(label), label, metric, tokens=tokens)


def find_function(label: str) -> Function:
    """Return what ``module:function`` or the name of an entry point stands for.

    Modules are looked for in the current directory too.

    Raises:
        ObjectiveError: There is none, or it cannot be imported or called.
    """
    module, colon, name = label.partition(":")
    try:
        with _current_directory():
            found = _attribute(label, module, name) if colon else _entry(label)
    except ObjectiveError:
        raise
    except Exception as error:
        message = f"--objective {label}: cannot be imported: {_last_frame(error)}"
        raise ObjectiveError(message) from error
    if not callable(found):
        raise ObjectiveError(f"--objective {label}: is {found!r}, which cannot be called")
    function: Function = found
    return function


def _attribute(label: str, module: str, name: str) -> object:
    found: object = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            near = suggest(part, [known for known in dir(found) if not known.startswith("_")])
            raise ObjectiveError(f"--objective {label}: {module} has no {part!r}; {near}")
        found = getattr(found, part)
    return found


def _entry(label: str) -> object:
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if label not in points:
        raise ObjectiveError(
            f"--objective {label}: no installed distribution offers it ({ENTRY_POINT_GROUP}); "
            f"{suggest(label, points)}; or give module:function"
        )
    return points[label].load()


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    """Let modules of the current directory be imported, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _last_frame(error: BaseException) -> str:
    """Say what an error is and where it was raised, in one line."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return said
    last = frames[-1]
    return f"{said} (in {last.name}, {last.filename}:{last.lineno})"


def _number(value: object) -> float | None:
    """Return a number as float, one of numpy's or torch's too, None for anything else."""
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # whatever says what it is as a float
    except (TypeError, ValueError, RuntimeError):
        return None
