"""Random designs among those that fit: the baseline, and the start of every other sampler."""

from __future__ import annotations

import numpy as np

from archspec.search.feasible import FeasibleSpace
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.space import Design

_DRAWN, _BATCHES = 2048, 10
_WALK = 200


class RandomPlacementSampler(PlacementSampler):
    """Uniform over the new designs that fit, or nearly so where these are very rare."""

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return a random new design, None if none is left."""
        return random_design(self.allowed, history.taken, rng)


def random_design(
    allowed: FeasibleSpace, taken: frozenset[Design], rng: np.random.Generator
) -> Design | None:
    """Return a random design that fits and is not taken, None if there is none.

    A small space is listed, and the choice is uniform. A large one is drawn from until one fits,
    uniform as well. If 20,000 draws do not fit, an integer program with random scores finds one,
    and a random walk over designs that fit leads away from it, as the program prefers corners.
    """
    if allowed.listed is not None:
        left = [design for design in allowed.listed if design not in taken]
        return left[rng.integers(len(left))] if left else None
    for _ in range(_BATCHES):
        for design in allowed.select(*allowed.space.draw(rng, _DRAWN)):
            if design not in taken:
                return design
    start = allowed.program.best(allowed.program.random(rng), excluded=taken, gap=0.1)
    return None if start is None else _walk(allowed, start, taken, rng)


def _walk(
    allowed: FeasibleSpace, start: Design, taken: frozenset[Design], rng: np.random.Generator
) -> Design:
    """Step to random neighbours that fit; as steps are symmetric, all designs are equally likely.

    A step redraws one or two layers and sometimes a pool's size. The last new design is returned.
    """
    here = found = start
    for _ in range(_WALK):
        there = redraw(allowed, here, rng, layers=int(rng.integers(1, 3)), pool_share=0.2)
        if there in allowed:
            here = there
            if here not in taken:
                found = here
    return found


def redraw(
    allowed: FeasibleSpace,
    design: Design,
    rng: np.random.Generator,
    *,
    layers: int,
    pool_share: float,
) -> Design:
    """Return a copy of ``design`` with some random layers and, by chance, pool sizes drawn anew.

    The variant changes as often as a pool's size; layers are then those at the same relative depth.
    """
    space = allowed.space
    if len(space.parts) > 1 and rng.random() < pool_share:
        design = space.carried(design, int(rng.integers(len(space.parts))))
    placed, sizes = list(design.layers), list(design.sizes)
    choices = space.parts[design.variant].choices
    free = [gene for gene, layers in enumerate(choices) if len(layers) > 1]
    for gene in rng.permutation(free)[:layers]:
        placed[gene] = int(rng.integers(len(choices[gene])))
    for pool, values in enumerate(space.pools.values()):
        if rng.random() < pool_share:
            sizes[pool] = int(rng.integers(len(values)))
    return space.normal(placed, sizes, design.variant)
