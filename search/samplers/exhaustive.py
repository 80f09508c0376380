"""Every design that fits, once, in an order whose beginning already covers the space."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import Ints
from archspec.errors import SamplerError
from archspec.search.feasible import LISTED, FeasibleSpace
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.space import Design

_COMPARED = 256


class ExhaustivePlacementSampler(PlacementSampler):
    """Proposes all designs of a space that is small enough to list.

    Each next design is, of a random few of those left, the one least like any proposed before, so
    that a study that is stopped early has seen the space evenly.

    Raises:
        SamplerError: The space is too large to list.
    """

    def __init__(
        self, allowed: FeasibleSpace, *, seed: int = 0, priced: Sequence[str] = ()
    ) -> None:
        super().__init__(allowed, seed=seed, priced=priced)
        if allowed.listed is None:
            raise SamplerError(
                f"sampler exhaustive takes spaces of at most {LISTED:,} designs, budgets aside, "
                f"but this one has {allowed.space.num_designs:,}; vary less, or take sampler milp"
            )

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return a design that is unlike those before; None after the last."""
        assert self.allowed.listed is not None, "checked at the start"
        seen = np.array([design in history.taken for design in self.allowed.listed])
        left = rng.permutation(np.flatnonzero(~seen))[:_COMPARED]
        if not len(left):
            return None
        before = rng.permutation(np.flatnonzero(seen))[:_COMPARED]
        unlike = (self._rows[left][:, None] != self._rows[before][None]).sum(axis=2)
        chosen = int(left[np.argmax(unlike.min(axis=1, initial=_COMPARED))])
        return self.allowed.listed[chosen]

    @functools.cached_property
    def _rows(self) -> Ints:
        layers, sizes, variants = self.allowed.listed_arrays
        return np.concatenate([layers, sizes, variants[:, None]], axis=1)
