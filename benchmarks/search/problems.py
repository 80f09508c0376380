"""What is searched: problems whose best design is known, asked with or without noise."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats
from archspec.search.space import Design, Rows
from archspec.spec.load import load_search
from benchmarks.search.exact import ExactProgram
from benchmarks.search.losses import STRUCTURES, draw_tables

PLACEMENT = Path(__file__).parent / "placement.yaml"
SMALL, RARE = PLACEMENT.with_name("small.yaml"), PLACEMENT.with_name("rare.yaml")
_SAMPLE = 40_000  # designs drawn, of which those that fit give a loss its unit


@dataclass(frozen=True)
class Case:
    """A synthetic problem at a level of noise.

    Attributes:
        structure: A key of ``STRUCTURES``.
        noise: Standard deviation of an evaluation, in units of how designs that fit vary.
        document: The search document that has the designs.
    """

    structure: str
    noise: float
    document: Path = PLACEMENT

    @property
    def name(self) -> str:
        """Name it in results."""
        space = "" if self.document == PLACEMENT else f"{self.document.stem}, "
        return f"{space}{self.structure}, noise {self.noise:g}"


PRICED = "flops_per_token"  # the second goal, where there are two
NUM_LIMITS = 8  # of its values, to which the best loss is known
HEADLINE = Case("interacting", 0.3)
CASES = (
    HEADLINE,
    Case("additive", 0.0),
    Case("interacting", 1.0),
    Case("neighbours", 0.3),
    Case("saturating", 0.3),
    Case("bumps", 0.3),
)
SMALL_CASE = Case("interacting", 0.0, SMALL)  # its designs are few enough to list
RARE_CASE = Case("interacting", 0.3, RARE)  # few of its designs fit


@dataclass(frozen=True)
class Target:
    """What one search searches.

    Attributes:
        allowed: The designs.
        truth: The loss of a design, noise aside; less is better.
        observe: What an evaluation says of it.
        optimum: The least loss of all.
    """

    allowed: FeasibleSpace
    truth: Callable[[Design], float]
    observe: Callable[[Design], float]
    optimum: float


class Problem:
    """A space under budgets and a loss, in units of how it varies over designs that fit.

    Attributes:
        allowed: The designs.
    """

    def __init__(self, structure: str, allowed: FeasibleSpace, *, seed: int) -> None:
        self.allowed = allowed
        (sizes,) = allowed.space.pools.values()
        rng = np.random.default_rng(seed)
        reads = allowed.space.reads[0]
        self._tables = draw_tables(reads, len(sizes), rng, **STRUCTURES[structure])
        losses = self._tables.of(self.samples)
        self._center, self._unit = float(losses.mean()), float(losses.std())

    @property
    def samples(self) -> Rows:
        """Designs that fit, drawn uniformly."""
        return _sample(self.allowed)

    def losses(self, rows: Rows) -> Floats:
        """Return the losses of designs, [N]."""
        return np.asarray((self._tables.of(rows) - self._center) / self._unit)

    def __call__(self, design: Design) -> float:
        """Return the loss of a design."""
        return float(self.losses(self.allowed.space.arrays([design]))[0])

    @functools.cached_property
    def least(self) -> float:
        """The least loss of all designs that fit."""
        best = self.optimum()
        assert best is not None, "some design fits"
        return self(best)

    def optimum(self, bounds: Sequence[Bound] = ()) -> Design | None:
        """Return the best design that fits and keeps to further bounds, None if there is none."""
        return ExactProgram(self.allowed, self._tables, bounds).solve()


@functools.cache
def placements(document: Path = PLACEMENT) -> FeasibleSpace:
    """Return the designs that a search document allows."""
    return FeasibleSpace.of(load_search(document))


@functools.lru_cache(maxsize=4)
def _sample(allowed: FeasibleSpace) -> Rows:
    """Return designs that fit, drawn uniformly."""
    rows = allowed.space.draw(np.random.default_rng(0), _SAMPLE)
    return rows.take(allowed.admits(*rows))


def target_of(case: Case, problem: Problem, seed: int) -> Target:
    """Return a problem to be searched with the noise of a case."""
    rng = np.random.default_rng([seed, 1])

    def observe(design: Design) -> float:
        return problem(design) + case.noise * float(rng.normal())

    return Target(problem.allowed, problem, observe, problem.least)
