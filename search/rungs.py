"""What is to be trained after the trials: survivors for more tokens, then finalists again.

A pure plan: ``Ladder.due`` says which trainings are wanted next, given the outcomes so far, and all
that it names may run at the same time. Whoever asks has them done, here or by many workers, and
asks again until nothing is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from archspec.search.fidelity import Fidelity
from archspec.search.finalists import fresh_seeds
from archspec.search.goals import goal_values
from archspec.search.objective import Outcome
from archspec.search.pareto import as_losses, best_first
from archspec.search.proxy import spread
from archspec.search.results import DesignResult, rank
from archspec.search.stage_results import RungEntry, RungResult
from archspec.spec.search.spec import SearchSpec

Stage = Literal["rung", "re-run", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A training that is wanted.

    Attributes:
        stage: A higher rung, a finalist with a fresh seed, or a design at a second proxy's size.
        rung: On which it counts.
        design: Hash of the design.
        seed: Of the training.
        fidelity: Of the rung; None where there are no rungs.
    """

    stage: Stage
    rung: int
    design: str
    seed: int
    fidelity: Fidelity | None

    @property
    def name(self) -> str:
        """What no other training of a search is called."""
        check = "check of " if self.stage == "check" else ""
        return f"{check}{self.design} seed {self.seed}{self.fidelity or ''}"

    @property
    def title(self) -> str:
        """What people call its stage."""
        return f"rung {self.rung}" if self.stage == "rung" else self.stage


Known = Mapping[Due, Outcome | None]  # None stands for a training that diverged


def first_fidelity(spec: SearchSpec) -> Fidelity | None:
    """Return the fidelity of trials, None for that of the train document."""
    return Fidelity(tokens=spec.rungs[0].tokens) if spec.rungs else None


class Ladder:
    """The stages after the trials of one search.

    Args:
        spec: The search.
        designs: Everything that was trained on the first rung.
    """

    def __init__(self, spec: SearchSpec, designs: Sequence[DesignResult]) -> None:
        self._spec = spec
        self._goals = spec.goals
        self._rungs = spec.rungs
        self._designs = {design.spec_hash: design for design in designs}
        entries = [
            _entry(design, goal_values(self._goals, design, design.prices)) for design in designs
        ]
        self._first = self._ranked(0, entries)

    @property
    def num_rungs(self) -> int:
        """How many there are; without any declared, the trials are one."""
        return max(1, len(self._rungs))

    def due(self, known: Known) -> list[Due]:
        """Return the trainings that can start now, in a fixed order; none if all are done.

        Args:
            known: The outcomes so far, of this session or remembered.
        """
        return [due for due in self.planned(known) if due not in known]

    def planned(self, known: Known) -> list[Due]:
        """Return all trainings of the stages that have begun, done or not, in a fixed order."""
        rungs = self.rungs(known)
        return [due for rung in rungs for due in self._wanted(rung.rung + 1, rung)]

    def named(self, outcomes: Mapping[str, Outcome | None]) -> dict[Due, Outcome | None]:
        """Return the outcomes that are known by the names of their trainings."""
        known: dict[Due, Outcome | None] = {}
        while True:
            found = {due: outcomes[due.name] for due in self.planned(known) if due.name in outcomes}
            if len(found) == len(known):
                return known
            known = found

    def rungs(self, known: Known) -> tuple[RungResult, ...]:
        """Return the results of every rung that is done, the lowest first."""
        found = [self._first]
        while len(found) < self.num_rungs:
            number = len(found)
            wanted = self._wanted(number, found[-1])
            if any(due not in known for due in wanted):
                break
            entries = [self._climbed(due, known[due]) for due in wanted]
            found.append(self._ranked(number, entries))
        return tuple(found)

    def reruns(self, known: Known) -> dict[str, list[Outcome | None]]:
        """Return the outcomes of fresh seeds by design, those that are known."""
        found: dict[str, list[Outcome | None]] = {}
        for due, outcome in known.items():
            if due.stage == "re-run":
                found.setdefault(due.design, []).append(outcome)
        return found

    def order(
        self, designs: Sequence[DesignResult], rungs: Sequence[RungResult]
    ) -> tuple[DesignResult, ...]:
        """Order designs: finalists by their re-runs, the others by how far they got.

        Of those that got equally far, the better on that rung comes first.
        """
        reached: dict[str, tuple[int, int]] = {}
        for result in rungs:
            for place, entry in enumerate(result.entries):
                reached[entry.spec_hash] = (-result.rung, place)
        again = rank([d for d in designs if d.was_rerun], self._spec.direction)
        others = [design for design in designs if not design.was_rerun]
        return (*again, *sorted(others, key=lambda design: reached[design.spec_hash]))

    def _wanted(self, rung: int, below: RungResult) -> list[Due]:
        """Return all trainings of a rung, or after the last one those that follow it."""
        stage: Stage = "rung" if rung < self.num_rungs else "re-run"
        number = min(rung, self.num_rungs - 1)
        seeds = (self._spec.train.seed,) if stage == "rung" else fresh_seeds(self._spec)
        fidelity = Fidelity(tokens=self._rungs[number].tokens) if self._rungs else None
        climbing = [
            Due(
                stage=stage,
                rung=number,
                design=entry.spec_hash,
                seed=seed,
                fidelity=fidelity,
            )
            for entry in below.kept
            for seed in seeds
        ]
        return climbing if stage == "rung" else [*climbing, *self._checks()]

    def _checks(self) -> list[Due]:
        """Return the trainings at the second size of a proxy, as the trials were."""
        check = self._spec.proxy.check if self._spec.proxy else None
        if check is None:
            return []
        return [
            Due(
                stage="check",
                rung=0,
                design=entry.spec_hash,
                seed=self._spec.train.seed,
                fidelity=first_fidelity(self._spec),
            )
            for entry in spread(self._first, check.designs)
        ]

    def checked(self, known: Known) -> list[tuple[float, float]]:
        """Return what each checked design was worth at the first and at the second size."""
        values = {entry.spec_hash: entry.values for entry in self._first.entries}
        return [
            (first[0], outcome.value)
            for due, outcome in known.items()
            if due.stage == "check" and outcome is not None
            if (first := values[due.design]) is not None
        ]

    def _climbed(self, due: Due, outcome: Outcome | None) -> RungEntry:
        design = self._designs[due.design]
        values = None if outcome is None else goal_values(self._goals, outcome, design.prices)
        return _entry(design, values)

    def _ranked(self, number: int, entries: Sequence[RungEntry]) -> RungResult:
        """Put a rung in order and mark who goes on."""
        sound = [entry for entry in entries if entry.values is not None]
        values = [entry.values for entry in sound if entry.values is not None]
        order = best_first(as_losses(values, self._goals)).tolist() if sound else []
        ranked = [sound[index] for index in order]
        kept = _survivors(ranked, self._keep(number), self._spec.hand_finalists)
        marked = [entry.model_copy(update={"kept": entry.spec_hash in kept}) for entry in ranked]
        diverged = [entry for entry in entries if entry.values is None]
        tokens = self._rungs[number].tokens if self._rungs else self._spec.train.tokens
        return RungResult(rung=number, tokens=tokens, entries=(*marked, *diverged))

    def _keep(self, number: int) -> int:
        keep = self._rungs[number].keep if self._rungs else None
        return self._spec.finalists if keep is None else keep


def _survivors(ranked: Sequence[RungEntry], keep: int, keep_hand: int) -> set[str]:
    """Return the hashes of the best designs and of the best hand designs; none if none is kept."""
    if not keep:
        return set()
    hand = [entry for entry in ranked if entry.is_hand_design][:keep_hand]
    return {entry.spec_hash for entry in [*ranked[:keep], *hand]}


def _entry(design: DesignResult, values: tuple[float, ...] | None) -> RungEntry:
    return RungEntry(
        trial=design.trial,
        spec_hash=design.spec_hash,
        is_hand_design=design.is_hand_design,
        values=values,
    )


def num_later(spec: SearchSpec) -> int:
    """Return how many trainings there are at most after the trials."""
    return sum(count for count, _ in _later(spec))


def work(spec: SearchSpec) -> float:
    """Return all trainings of a search at most, in units of one trial, by their tokens."""
    first = first_fidelity(spec)
    tokens = spec.train.tokens if first is None or first.tokens is None else first.tokens
    return spec.trials + sum(count * each for count, each in _later(spec)) / tokens


def _later(spec: SearchSpec) -> list[tuple[int, int]]:
    """Return for each stage after the trials the most trainings, and the tokens of each."""
    tokens = [rung.tokens for rung in spec.rungs] or [spec.train.tokens]
    kept = [spec.finalists if rung.keep is None else rung.keep for rung in spec.rungs]
    kept = kept or [spec.finalists]
    sizes = [min(keep + spec.hand_finalists, spec.trials) if keep else 0 for keep in kept]
    check = spec.proxy.check if spec.proxy else None
    checks = min(check.designs, spec.trials) if check else 0
    climbing = list(zip(sizes[:-1], tokens[1:], strict=True))
    return [*climbing, (len(fresh_seeds(spec)) * sizes[-1], tokens[-1]), (checks, tokens[0])]
