"""How a training ended, and what its run directory says of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archspec.errors import RunError
from archspec.race.batches import order_hash
from archspec.race.results import Point, RunResult
from archspec.spec.load import load_train
from archspec.spec.train import TrainSpec
from archspec.train.files import read_json, replace_text

OUTCOME = "outcome.json"


def write_outcome(run: Path, *, diverged: str | None) -> None:
    """Say that a training is over, so that nobody repeats it."""
    replace_text(run / OUTCOME, json.dumps({"diverged": diverged}) + "\n")


def is_done(run: Path) -> bool:
    """Tell whether a training is over."""
    return (run / OUTCOME).exists()


def read_run(race: Path, key: str) -> RunResult:
    """Read what a finished training came to, from the files it left.

    Args:
        race: The race's directory.
        key: The run's, from there.

    Raises:
        RunError: It is damaged.
    """
    run = race / key
    diverged = read_json(run / OUTCOME).get("diverged")
    metadata = read_json(run / "metadata.json")
    train = load_train(run / "train.yaml")
    steps, curve = _read_metrics(run / "metrics.jsonl", train.batch_tokens)
    if diverged is None and (not curve or curve[-1].step != train.num_steps):
        raise RunError(f"{run / 'metrics.jsonl'}: has no evaluation of step {train.num_steps}")
    if diverged is None and "loss" not in curve[-1].metrics:
        diverged = "the loss is not finite at its end"
    return RunResult(
        key=key,
        seed=train.seed,
        diverged=diverged,
        steps=len(steps),
        num_steps=train.num_steps,
        tokens=len(steps) * train.batch_tokens,
        seconds=sum(steps),
        metrics=curve[-1].metrics if curve and diverged is None else {},
        curve=tuple(curve),
        data_order="" if diverged is not None else order_hash(run, steps=train.num_steps),
        data=dict(metadata["data_sha256"]),
        settings=settings_hash(train),
    )


def settings_hash(train: TrainSpec) -> str:
    """Hash a train document without what a race changes on purpose: the seed and the rates."""
    document = train.model_dump(mode="json")
    del document["seed"], document["optimizer"]["lr"]
    del document["optimizer"]["tables"]["lr_multiplier"]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _read_metrics(path: Path, batch_tokens: int) -> tuple[list[float], list[Point]]:
    """Return the seconds of each step and the evaluations, from a training's log."""
    seconds: list[float] = []
    curve: list[Point] = []
    for line in _lines(path):
        if "evaluation" in line:
            curve.append(
                Point(
                    step=line["step"],
                    tokens=line["step"] * batch_tokens,
                    seconds=sum(seconds),
                    metrics=_finite(line["evaluation"]),
                )
            )
        elif "loss" in line and "seconds" in line:
            seconds.append(line["seconds"])
    return seconds, curve


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out what has no value, such as the accuracy of a bucket without facts."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        text = path.read_text()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError:
            raise RunError(f"{path}:{number}: is damaged: no JSON") from None
