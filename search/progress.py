"""Tells the listener where a search stands, and how long it may still take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archspec.search.drawing import Drawing
from archspec.search.events import Finished, Listener, Plan, Started
from archspec.search.feasible import FeasibleSpace
from archspec.search.hand import HandDesign
from archspec.search.objective import Outcome
from archspec.search.results import BudgetResult, SpaceResult, rank
from archspec.search.rungs import num_later, work
from archspec.search.share import FEW, feasible_share
from archspec.search.space import Design
from archspec.search.trials import Trials
from archspec.spec.search.spec import SearchSpec


def describe_space(allowed: FeasibleSpace) -> tuple[SpaceResult, tuple[BudgetResult, ...]]:
    """Count the space and what each budget rejects of it."""
    counted = allowed.rejections()
    rare = counted.num_feasible < FEW and not counted.exact
    space = SpaceResult(
        num_designs=counted.num_designs,
        num_priced=counted.num_priced,
        num_feasible=counted.num_feasible,
        share=feasible_share(allowed).value if rare else None,
        num_layers=max(len(part.gene_of) for part in allowed.space.parts),
        pools=allowed.space.pools,
        legend=Drawing(allowed.space).legend,
        choices=Drawing(allowed.space).choices,
    )
    budgets = tuple(
        BudgetResult(
            quantity=bound.quantity,
            side=bound.side,
            limit=bound.limit,
            rejected=counted.rejected[bound.quantity],
        )
        for bound in allowed.bounds
    )
    return space, budgets


class Progress:
    """Counts trainings, those of earlier sessions included.

    Attributes:
        seconds: Spent in trainings, in all sessions.
    """

    def __init__(self, spec: SearchSpec, trials: Trials, listener: Listener) -> None:
        self._spec = spec
        self._trials = trials
        self._listener = listener
        self._drawing = Drawing(trials.allowed.space)
        self._trainings = spec.trials + num_later(spec)
        self._done = trials.num_done
        self._left = work(spec) - self._done
        timed = [result.seconds for _, result in trials.completed()]
        self._timed = float(len(timed))
        self._open = 0
        self.seconds = sum(timed)

    def plan(
        self,
        out: Path,
        hand: Sequence[HandDesign],
        space: SpaceResult,
        budgets: tuple[BudgetResult, ...],
    ) -> Plan:
        """Describe what is about to happen."""
        return Plan(
            out=out,
            metric=self._spec.metric,
            direction=self._spec.direction,
            sampler=self._spec.sampler,
            space=space,
            budgets=budgets,
            hand_designs=tuple(design.name for design in hand),
            trials=self._spec.trials,
            done=self._done,
            trainings=self._trainings,
        )

    def start(
        self, stage: str, number: int, planned: int, design: Design, source: str, worker: str = ""
    ) -> Started:
        """Tell that a training begins."""
        event = Started(
            stage=stage,
            number=number,
            planned=planned,
            placement=self._drawing.placement(design),
            pools=self._drawing.pools(design),
            source=source,
            worker=worker,
        )
        if stage == "re-run" and not self._spec.rungs and not self._spec.proxy:
            # The plan allowed for a best hand design that is not among the best designs.
            self._left += self._spec.trials + planned - self._trainings
            self._trainings = self._spec.trials + planned
        self._open += 1
        self._listener.on_start(event)
        return event

    def drop(self, started: Started) -> None:
        """Tell that a training was cut short."""
        self._open -= 1
        self._listener.on_drop(started)

    def finish(self, started: Started, design: Design, outcome: Outcome | None) -> None:
        """Tell that a training is over; ``outcome`` is None if it diverged."""
        self._done += 1
        at_once = max(1, self._open)  # of all workers that are seen from here
        self._open -= 1
        if outcome is not None:
            self._timed += self._units(started)
            self.seconds += outcome.seconds
        unit = self.seconds / self._timed if self._timed else 0.0
        self._left -= self._units(started)
        ranked = rank([result for _, result in self._trials.completed()], self._spec.direction)
        self._listener.on_finish(
            Finished(
                started=started,
                value=None if outcome is None else outcome.value,
                seconds=0.0 if outcome is None else outcome.seconds,
                prices=self._trials.allowed.prices(design),
                best=ranked[0] if ranked else None,
                done=self._done,
                trainings=self._trainings,
                seconds_left=unit * max(0.0, self._left) / at_once,
            )
        )

    def _units(self, started: Started) -> float:
        """Return how long a training is, in trials, by its tokens."""
        rungs = self._spec.rungs
        if not rungs or started.stage in ("trial", "check"):
            return 1.0
        is_rung = started.stage.startswith("rung ")
        rung = int(started.stage.removeprefix("rung ")) if is_rung else len(rungs) - 1
        return rungs[rung].tokens / rungs[0].tokens
