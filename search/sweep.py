"""The learning rate of each family of designs, swept once with one design of it.

A family is the kinds of blocks that a design uses. The first of its designs to be judged is trained
with every rate, at the first rung and with a seed that no other training has; the best rate then
holds for the whole family, on every rung. Rates and representatives are kept in the study, so that
all workers use the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import optuna
from pydantic import TypeAdapter, ValidationError

from archspec.errors import DivergedError, RunError
from archspec.search.fidelity import Fidelity
from archspec.search.objective import Objective, Outcome, judge
from archspec.search.rungs import first_fidelity
from archspec.spec.dump import spec_hash, to_yaml
from archspec.spec.family import family_of
from archspec.spec.model import ModelSpec
from archspec.spec.read import parse_tree
from archspec.spec.resolve import resolve_model
from archspec.spec.search.spec import SearchSpec
from archspec.train.rates import SweepChoice, SweepRun, choose_rates

_SEED = 500  # from the document's; re-runs are a thousand apart
_PREFIX = "sweep."


class Notes(Protocol):
    """What all workers of a search know, by key."""

    def get(self, key: str) -> Any:
        """Return what was noted, None if nothing was."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Note plain values."""
        ...

    def keys(self) -> Sequence[str]:
        """Return all keys that were noted."""
        ...


class StudyNotes:
    """Notes kept as attributes of an Optuna study, in whatever storage it has."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def get(self, key: str) -> Any:
        """Return what was noted, None if nothing was."""
        return self._study.user_attrs.get(key)

    def set(self, key: str, value: Any) -> None:
        """Note plain values."""
        self._study.set_user_attr(key, value)

    def keys(self) -> Sequence[str]:
        """Return all keys that were noted."""
        return tuple(self._study.user_attrs)


class SweptObjective:
    """Judges every design with the learning rate of its family.

    Args:
        objective: Judges one design with one seed; what it remembers is not trained again.
        spec: The search.
        notes: Where rates are kept.
        scope: Tells the notes of several sizes of a search apart.
    """

    def __init__(
        self, objective: Objective, spec: SearchSpec, notes: Notes, *, scope: str = ""
    ) -> None:
        self._objective = objective
        self._train = spec.train
        self._factors = spec.document.objective.sweep
        self._higher = spec.direction == "maximize"
        self._first = first_fidelity(spec) or Fidelity()
        self._notes = notes
        self._prefix = _PREFIX + scope
        self._known: dict[str, SweepChoice] = {}

    def __call__(self, spec: ModelSpec, seed: int, *, fidelity: Fidelity | None = None) -> Outcome:
        """Judge with the rate of the family. Raises DivergedError if it diverged at every rate."""
        lr = self.choice(spec).lr
        asked = dataclasses.replace(fidelity or Fidelity(), lr=lr)
        return judge(self._objective, spec, seed, asked)

    def choice(self, spec: ModelSpec) -> SweepChoice:
        """Return the rate of a design's family, after its sweep if it had none yet."""
        family = family_of(spec)
        if family not in self._known:
            self._known[family] = self._noted(family) or self._swept(family, spec)
        return self._known[family]

    def _noted(self, family: str) -> SweepChoice | None:
        noted = self._notes.get(self._prefix + family)
        return _read(family, noted["choice"]) if noted and noted["choice"] else None

    def _swept(self, family: str, spec: ModelSpec) -> SweepChoice:
        """Sweep with the representative, which is ``spec`` unless a worker began with another.

        A representative that diverges at every rate makes room for the next design.
        """
        noted = self._notes.get(self._prefix + family)
        if noted:
            representative = resolve_model(parse_tree(noted["design"], f"sweep of {family}"))
        else:
            representative = spec
            self._note(family, spec, None)
        try:
            choice = self._sweep(family, representative)
        except DivergedError:
            self._notes.set(self._prefix + family, None)
            if spec_hash(representative) == spec_hash(spec):
                raise
            return self._swept(family, spec)
        choice = self._noted(family) or choice  # another worker may have been first
        self._note(family, representative, choice)
        return choice

    def _sweep(self, family: str, spec: ModelSpec) -> SweepChoice:
        runs = []
        for factor in self._factors:
            lr = self._train.optimizer.lr * factor
            fidelity = dataclasses.replace(self._first, lr=lr)
            value: float | None = None
            with contextlib.suppress(DivergedError):
                value = judge(self._objective, spec, self._train.seed + _SEED, fidelity).value
            tokens = fidelity.tokens or self._train.tokens
            name = spec_hash(spec)[:16]
            runs.append(SweepRun(design=name, lr=lr, table_lr=None, value=value, tokens=tokens))
        way = "give smaller factors in objective.sweep"
        return choose_rates(family, runs, higher=self._higher, way=way)

    def _note(self, family: str, spec: ModelSpec, choice: SweepChoice | None) -> None:
        content = {"design": to_yaml(spec), "choice": asdict(choice) if choice else None}
        self._notes.set(self._prefix + family, content)


def noted_rates(notes: Notes, *, scope: str = "") -> tuple[SweepChoice, ...]:
    """Return the rate of every family that was swept."""
    found = []
    for key in sorted(notes.keys()):
        family = key.removeprefix(_PREFIX + scope)
        content = notes.get(key) if key.startswith(_PREFIX + scope) else None
        if content and content["choice"] and ":" not in family:
            found.append(_read(family, content["choice"]))
    return tuple(found)


def rates_text(choices: Sequence[SweepChoice]) -> str:
    """Say which family has which rate: ``dense 0.002, dense+moe 0.004 (edge of the grid)``."""
    return ", ".join(
        f"{choice.group} {choice.lr:g}" + (" (edge of the grid)" if choice.edges else "")
        for choice in choices
    )


def _read(family: str, content: Any) -> SweepChoice:
    try:
        return TypeAdapter(SweepChoice).validate_python(content)
    except ValidationError as error:
        raise RunError(f"the study's note of the sweep of {family} is damaged: {error}") from None
