"""Which designs are trained again with fresh seeds, as one training may have been lucky."""

from __future__ import annotations

from collections.abc import Sequence

from archspec.search.objective import Outcome
from archspec.search.results import DesignResult, rank
from archspec.search.space import Design, Space
from archspec.spec.search.spec import SearchSpec

NUM_FRESH_SEEDS = 2
_APART = 1000  # between one fresh seed and the next, more than the trainings of one outcome


def fresh_seeds(spec: SearchSpec) -> tuple[int, ...]:
    """Return the seeds of the re-runs, none of which any first run used."""
    step = max(_APART, spec.seeds)
    return tuple(spec.train.seed + step * number for number in range(1, NUM_FRESH_SEEDS + 1))


def num_reruns(spec: SearchSpec) -> int:
    """Return how many trainings the re-runs take at most."""
    return NUM_FRESH_SEEDS * (min(spec.finalists, spec.trials) + 1) if spec.finalists else 0


def finalists(designs: Sequence[DesignResult], spec: SearchSpec) -> set[int]:
    """Return the trials of the best designs and of the best hand design; none if none is asked."""
    if not spec.finalists:
        return set()
    ranked = rank(designs, spec.direction)
    best_hand = [design for design in ranked if design.is_hand_design][:1]
    return {design.trial for design in [*ranked[: spec.finalists], *best_hand]}


def with_reruns(design: DesignResult, outcomes: Sequence[Outcome | None]) -> DesignResult:
    """Return a design with the outcomes of its re-runs; None stands for one that diverged."""
    values = tuple(outcome.value for outcome in outcomes if outcome is not None)
    return design.model_copy(
        update={"reruns": values, "diverged_reruns": len(outcomes) - len(values)}
    )


def uniform_dense(completed: Sequence[tuple[Design, DesignResult]], space: Space) -> str | None:
    """Return the hash of the trained design that is nothing but one dense block, if any."""
    for design, result in completed:
        blocks = {block for layer in space.model(design).layers for block in layer.blocks}
        if len(blocks) == 1 and all(block.type == "dense" for block in blocks):
            return result.spec_hash
    return None
