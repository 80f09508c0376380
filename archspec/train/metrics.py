"""``metrics.jsonl``: a JSON object a line, for all that a run reports; torch-free.

A step is a line of its own fields; every other kind of event is ``{"step": ..., KIND: {...}}``. The
key ``step`` is in every line, so that a resumed run can cut off what it will report again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archspec.errors import RunError
from archspec.train.events import (
    Evaluation,
    ExpertUse,
    Listener,
    Sample,
    Step,
    TableUse,
    Usage,
    Warned,
)
from archspec.train.files import replace_text, sync

Logged = Step | Evaluation | Usage | Sample | Warned

_STEP_FIELDS = frozenset(field.name for field in dataclasses.fields(Step))


class MetricsLog(Listener):
    """Writes what a run reports, a line for each event.

    Args:
        path: The file.
        step: Lines of later steps are cut off, as these steps will run again.

    Attributes:
        steps: Every step of the run so far, earlier sessions included.
        evaluation: The last evaluation, likewise.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        self.steps: list[Step] = []
        self.evaluation: Evaluation | None = None
        kept = [line for line in _whole_lines(path) if line["step"] <= step]
        for event in map(_from_line, kept):
            self._remember(event)
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path = path
        self._file = path.open("a", buffering=1)

    def write(self, event: Logged) -> None:
        """Append an event."""
        self._remember(event)
        self._file.write(json.dumps(_to_line(event)) + "\n")

    def on_step(self, event: Step) -> None:
        """Write it."""
        self.write(event)

    def on_evaluation(self, event: Evaluation) -> None:
        """Write it."""
        self.write(event)

    def on_usage(self, event: Usage) -> None:
        """Write it."""
        self.write(event)

    def on_sample(self, event: Sample) -> None:
        """Write it."""
        self.write(event)

    def on_warning(self, event: Warned) -> None:
        """Write it."""
        self.write(event)

    def sync(self) -> None:
        """Put every line on the disk, before a checkpoint says that these steps are done."""
        sync(self._path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _remember(self, event: Logged | None) -> None:
        if isinstance(event, Step):
            self.steps.append(event)
        elif isinstance(event, Evaluation):
            self.evaluation = event


def read_metrics(path: Path) -> Iterator[Logged]:
    """Read back what a run has reported so far, while it runs or after.

    Raises:
        RunError: There is no such file.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file; name a run directory that `archspec train` wrote")
    yield from (event for event in map(_from_line, _whole_lines(path)) if event is not None)


def _to_line(event: Logged) -> dict[str, Any]:
    content = dataclasses.asdict(event)
    if isinstance(event, Step):
        return content
    step = content.pop("step")
    match event:
        case Evaluation():
            return {"step": step, "evaluation": content["metrics"]}
        case Usage():
            return {"step": step, "usage": content}
        case Sample():
            return {"step": step, "sample": content}
        case Warned():
            return {"step": step, "warning": content}


def _from_line(line: dict[str, Any]) -> Logged | None:
    """Read an event; None for a kind that a later version may have written."""
    step = line["step"]
    match line:
        case {"evaluation": metrics}:
            return Evaluation(step=step, metrics=metrics)
        case {"usage": usage}:
            return Usage(
                step=step,
                counted=usage["counted"],
                tables=tuple(TableUse(**table) for table in usage["tables"]),
                experts=tuple(
                    ExpertUse(**{**experts, "load": tuple(experts["load"])})
                    for experts in usage["experts"]
                ),
            )
        case {"sample": sample}:
            return Sample(step=step, **sample)
        case {"warning": warning}:
            return Warned(step=step, **warning)
        case {"loss": _}:
            return Step(**{key: value for key, value in line.items() if key in _STEP_FIELDS})
    return None


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read lines up to the first that is not whole, which a process that died may have left."""
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if not isinstance(entry, dict) or "step" not in entry:
            return
        yield entry
