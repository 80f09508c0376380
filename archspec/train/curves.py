"""Learning curves read from run directories, while they run or after; torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from archspec.cost.compare import unique_names
from archspec.cost.summary import cost_context
from archspec.cost.training import training_flops
from archspec.errors import RunError, suggest
from archspec.spec.load import load_model, load_train
from archspec.train.events import Evaluation, Step
from archspec.train.metrics import read_metrics

Axis = Literal["tokens", "flops", "seconds"]
AXES: tuple[Axis, ...] = ("tokens", "flops", "seconds")

_WINDOW = 50  # a curve is smoothed over so large a part of its steps


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """A metric of one run along an axis.

    Attributes:
        name: Of the run: its directory's, longer where two agree.
        metric: What is drawn.
        axis: Along what: tokens seen, training FLOPs (3 x forward, causal half, nothing
            recomputed), or seconds in steps, of all sessions.
        points: (x, value), in order.
        smoothed: Values averaged over the last fiftieth of the points; the points themselves
            where there are too few.
    """

    name: str
    metric: str
    axis: Axis
    points: Sequence[tuple[float, float]]
    smoothed: Sequence[tuple[float, float]]


def load_curves(
    runs: Sequence[Path], *, metric: str = "loss", axis: Axis = "tokens"
) -> list[LearningCurve]:
    """Read the curve of each run.

    Args:
        runs: Run directories.
        metric: ``loss`` in training, another figure of steps, or a metric of evaluations;
            ``evaluation.loss`` is the loss of evaluations.
        axis: What it is drawn along.

    Raises:
        RunError: A directory holds no run, or the run has no such metric yet.
    """
    names = unique_names([run.resolve().name for run in runs])
    return [_load(run, name, metric, axis) for run, name in zip(runs, names, strict=True)]


def _load(run: Path, name: str, metric: str, axis: Axis) -> LearningCurve:
    found = _values(run)
    if metric not in found:
        raise RunError(
            f"{run}: has no metric {metric!r} so far; {suggest(metric, found)}"
            if found
            else f"{run}: has reported nothing so far; wait for its first steps"
        )
    places = _places(run, axis)
    points = [(places[step], value) for step, value in found[metric] if step in places]
    return LearningCurve(
        name=name,
        metric=metric,
        axis=axis,
        points=points,
        smoothed=_smooth(points),
    )


def _values(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return all that a run has measured, by name: (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_metrics(run / "metrics.jsonl"):
        if isinstance(event, Step):
            named = dict(_of_step(event))
        elif isinstance(event, Evaluation):
            named = {_evaluated(name): value for name, value in event.metrics.items()}
        else:
            continue
        for name, value in named.items():
            found.setdefault(name, []).append((event.step, value))
    return found


def _of_step(step: Step) -> Iterator[tuple[str, float]]:
    values: Mapping[str, float | None] = {
        "loss": step.loss,
        "grad_norm": step.grad_norm,
        "lr": step.lr,
        "table_lr": step.table_lr,
        "memory_bytes": step.memory_bytes,
        **step.auxiliary,
    }
    yield from ((name, value) for name, value in values.items() if value is not None)


def _evaluated(name: str) -> str:
    return "evaluation.loss" if name == "loss" else name


def _places(run: Path, axis: Axis) -> dict[int, float]:
    """Return where each step lies on an axis."""
    steps = [event for event in read_metrics(run / "metrics.jsonl") if isinstance(event, Step)]
    if axis == "seconds":
        places, total = {}, 0.0
        for step in steps:
            total += step.seconds
            places[step.step] = total
        return places
    scale = 1 if axis == "tokens" else _flops_per_token(run)
    return {step.step: float(step.tokens * scale) for step in steps}


def _flops_per_token(run: Path) -> int:
    spec, train = load_model(run / "spec.yaml"), load_train(run / "train.yaml")
    return training_flops(spec, cost_context(spec, seq_len=train.seq_len))


def _smooth(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    window = len(points) // _WINDOW
    if window < 2:
        return points
    found, total = [], 0.0
    for place, (x, value) in enumerate(points):
        total += value
        if place >= window:
            total -= points[place - window][1]
        found.append((x, total / min(window, place + 1)))
    return found
