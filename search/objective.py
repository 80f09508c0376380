"""What a design is judged by. Anything that maps a model and a seed to an Outcome will do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from archspec.errors import DivergedError, RunError
from archspec.search.fidelity import Fidelity
from archspec.search.patience import Patience
from archspec.spec.dump import spec_hash
from archspec.spec.model import ModelSpec
from archspec.train.files import read_json, replace_text

_KEYS = {"value", "metrics", "seconds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a design did.

    Attributes:
        value: What the search improves.
        metrics: Everything that was measured, by name.
        seconds: How long it took.
        values: ``value`` of each seed, where it is a mean of several.
    """

    value: float
    metrics: Mapping[str, float]
    seconds: float
    values: tuple[float, ...] = ()


class Objective(Protocol):
    """Judges a design. Equal arguments give equal outcomes as far as the machine allows."""

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Return the outcome.

        Args:
            spec: The design.
            seed: Of everything that is random.
            fidelity: How thoroughly; None for as much as the search's documents say.

        Raises:
            DivergedError: The design cannot be trained.
            ObjectiveError: The objective itself is at fault; the search ends.
        """
        ...


def judge(objective: Objective, spec: ModelSpec, seed: int, fidelity: Fidelity | None) -> Outcome:
    """Ask an objective, one that knows no fidelity too as long as none is asked for."""
    if fidelity is None:
        return objective(spec, seed)
    return objective(spec, seed, fidelity=fidelity)


class AveragedObjective:
    """The mean over several seeds, each value kept; one that diverges fails all.

    Args:
        objective: Judges with one seed.
        seeds: How many; those after the first are next to the one asked for.
    """

    def __init__(self, objective: Objective, seeds: int) -> None:
        self._objective = objective
        self._seeds = seeds

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Judge with every seed."""
        runs = [
            judge(self._objective, spec, seed + number, fidelity) for number in range(self._seeds)
        ]
        names = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
        return Outcome(
            value=sum(run.value for run in runs) / len(runs),
            metrics={name: sum(run.metrics[name] for run in runs) / len(runs) for name in names},
            seconds=sum(run.seconds for run in runs),
            values=tuple(run.value for run in runs),
        )


class StoredObjective:
    """Remembers every outcome in a folder, so that nothing is trained twice.

    An outcome is on the disk before anybody hears of it; a search that is killed right after a
    training finds it again. Outcomes of two seeds or fidelities are apart.

    Args:
        objective: Judges what is not remembered.
        folder: One file per design, seed and fidelity.
        notify: Hears that the folder is away, with the disk it is on; an outcome waits for it.
    """

    def __init__(
        self, objective: Objective, folder: Path, notify: Callable[[str], None] = lambda _: None
    ) -> None:
        self._objective = objective
        self._folder = folder
        self._patience = Patience(str(folder), notify)

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Return the remembered outcome, or judge and remember; divergence is remembered too."""
        path = self._folder / f"{spec_hash(spec)[:16]}-seed{seed}{fidelity or ''}.json"
        known = self._patience.call(self._read, path)
        if known is not None:
            return _outcome(path, known)
        try:
            outcome = judge(self._objective, spec, seed, fidelity)
        except DivergedError as error:
            self._patience.call(self._write, path, {"diverged": str(error)})
            raise
        content = {**asdict(outcome), "metrics": dict(outcome.metrics)}
        self._patience.call(self._write, path, content)
        return outcome

    def _read(self, path: Path) -> dict[str, Any] | None:
        self._folder.parent.stat()  # where the disk is away, nothing exists
        return read_json(path) if path.exists() else None

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        self._folder.parent.stat()  # and it must not be made where the disk belongs
        replace_text(path, json.dumps(content))


def _outcome(path: Path, content: dict[str, Any]) -> Outcome:
    if "diverged" in content:
        raise DivergedError(content["diverged"])
    if content.keys() - {"values"} != _KEYS:
        raise RunError(f"{path}: is damaged: its keys are {', '.join(content)}; remove the file")
    return Outcome(**{**content, "values": tuple(content.get("values", ()))})
