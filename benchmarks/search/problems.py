"""What is searched: problems with a known best design, asked with or without noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from archspec.search.feasible import FeasibleSpace
from archspec.search.space import Design
from archspec.testing.problems import Problem


@dataclass(frozen=True)
class Case:
    """A synthetic problem at a level of noise.

    Attributes:
        structure: A key of ``archspec.testing.problems.STRUCTURES``.
        noise: Standard deviation of an evaluation, in units of how designs that fit vary.
    """

    structure: str
    noise: float

    @property
    def name(self) -> str:
        """Name it in results."""
        return f"{self.structure}, noise {self.noise:g}"


HEADLINE = Case("interacting", 0.3)
CASES = (
    HEADLINE,
    Case("additive", 0.0),
    Case("interacting", 0.0),
    Case("interacting", 1.0),
    Case("neighbours", 0.3),
    Case("saturating", 0.3),
    Case("bumps", 0.3),
)


@dataclass(frozen=True)
class Target:
    """What one run searches.

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


def synthetic(case: Case, seed: int) -> Target:
    """Return a case's problem number ``seed``: every seed has another loss."""
    problem = Problem(case.structure, seed=seed)
    rng = np.random.default_rng([seed, 1])

    def observe(design: Design) -> float:
        return problem(design) + case.noise * rng.normal()

    return Target(problem.allowed, problem, observe, problem(problem.optimum))
