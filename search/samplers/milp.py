"""The default sampler: integer programs and a local search over what trials have shown."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from archspec.cost.pricing import Flags, Ints
from archspec.search.achievable import closest_design
from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats
from archspec.search.samplers.base import History, PlacementSampler
from archspec.search.samplers.covariance import Covariance, Encoded
from archspec.search.samplers.improvement import Improvement
from archspec.search.samplers.neighbourhood import Neighbourhood
from archspec.search.samplers.random import random_design
from archspec.search.samplers.surrogate import Surrogate
from archspec.search.space import Design, Rows

_COMBINATIONS = 48  # of prices, over which the improvement is averaged
_LISTED = 256  # designs of a listed space that a guess may nominate
_DRAWN = 0.7  # share of integer programs over a drawn guess; the others are over the mean
_AUGMENTED = 0.05  # weight of the sum beside the largest, as in the paper
_NEIGHBOURS, _BEAM, _ROUNDS = 256, 16, 5


class MilpPlacementSampler(PlacementSampler):
    """Proposes the design of which most improvement is expected among those that fit and are new.

    A surrogate says what each design's loss may be. Its additive parts are drawn with the
    likelihood they have (Thompson sampling), and an integer program finds a design that is near
    the best under that guess; from there and from the best designs so far a local search climbs the
    expected improvement under the whole surrogate. Designs that are being evaluated count as if
    their results were in and as expected, so that parallel trials ask different questions. The
    first proposals are random.

    With several objectives of which all after the first are prices (``priced``), improvement is the
    hypervolume gained, and the integer program optimises the loss under a random combination of
    limits on the prices. With others, each proposal improves another weighing of them.

    Args:
        num_random: Evaluated designs before the first guess.
    """

    def __init__(
        self,
        allowed: FeasibleSpace,
        *,
        seed: int = 0,
        priced: Sequence[str] = (),
        num_random: int = 8,
    ) -> None:
        super().__init__(allowed, seed=seed, priced=priced)
        self._num_random = num_random

    def propose(self, history: History, rng: np.random.Generator) -> Design | None:
        """Return the most promising new design."""
        if len(history.scored) < self._num_random:
            return random_design(self.allowed, history.taken, rng)
        known = self.allowed.space.arrays([*(s.design for s in history.scored), *history.spoilt])
        encoded = self._covariance.encode(known)
        surrogate = self._learned(encoded, history, rng)
        limits = self._limits(history, rng)
        means, _ = surrogate.predict(encoded)
        improvement = Improvement(means, self._prices(known, history), limits)
        start = [*self._nominated(surrogate, limits[0], history, rng)]
        start += self.allowed.space.designs(known.take(np.argsort(means)[:_BEAM]))
        found = self._climb(self.allowed.space.arrays(start), surrogate, improvement, history, rng)
        return found or random_design(self.allowed, history.taken, rng)

    @functools.cached_property
    def _covariance(self) -> Covariance:
        return Covariance(self.allowed.space)

    @functools.cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self.allowed.space)

    def _learned(self, known: Encoded, history: History, rng: np.random.Generator) -> Surrogate:
        """Return what is learned from evaluated designs and those that were spoilt."""
        losses = np.array([s.losses for s in history.scored])
        # Prices are known, so only the first is learned; of several metrics, one weighing of them.
        priced = len(history.signs) == 1 + len(self.priced)
        single = losses[:, 0] if priced else weighed(losses, rng)
        judged = np.append(single, [single.max()] * len(history.spoilt))
        surrogate = Surrogate(self._covariance, known, judged)
        if history.running:
            running = self.allowed.space.arrays(history.running)
            surrogate.believe(self._covariance.encode(running))
        return surrogate

    def _prices(self, rows: Rows, history: History) -> Floats:
        """Return prices in the goals after the first, less being better, [N, G]."""
        if not self.priced:
            return np.zeros((len(rows.layers), 0))
        columns = [self.allowed.table.quantities.index(name) for name in self.priced]
        prices = self.allowed.table.prices(*rows)[:, columns]
        return np.asarray(prices.astype(np.float64) * history.signs[1:])

    def _limits(self, history: History, rng: np.random.Generator) -> Floats:
        """Draw combinations of prices between the least and the most that designs cost, [S, G]."""
        if not self.priced:
            return np.zeros((1, 0))
        ends = self._ranges * np.array(history.signs[1:])
        low, high = ends.min(axis=0), ends.max(axis=0)
        return np.asarray(low + (high - low) * rng.random((_COMBINATIONS, len(self.priced))))

    @functools.cached_property
    def _ranges(self) -> Ints:
        """The least and the most of each priced goal among designs that fit, in rows' units."""
        ends: Ints = np.zeros((2, len(self.priced)), dtype=np.int64)
        for goal, name in enumerate(self.priced):
            for end, bound in enumerate((Bound(name, "max", 0), Bound(name, "min", 0))):
                design = closest_design(self.allowed, bound, self.allowed.bounds)
                assert design is not None, "some designs fit, as some were evaluated"
                ends[end, goal] = self.allowed.prices(design)[name] // self.allowed.table.unit(name)
        return ends

    def _nominated(
        self, surrogate: Surrogate, limits: Floats, history: History, rng: np.random.Generator
    ) -> list[Design]:
        """Return the best designs within limits on prices by a guess, drawn or the mean."""
        guess = surrogate.draw(rng) if rng.random() < _DRAWN else surrogate.mean()
        space, listed = self.allowed.space, self.allowed.listed
        if listed is None:
            program = self._limited(limits, history).program
            found = program.good(program.objective(guess))
            return [] if found is None else [found]
        affordable = (self._prices(self.allowed.listed_arrays, history) <= limits).all(axis=1)
        scores = space.score(guess, self.allowed.listed_arrays)
        order = np.argsort(np.where(affordable, scores, np.inf), kind="stable")
        new = (listed[index] for index in order if listed[index] not in history.taken)
        return list(itertools.islice(new, _LISTED))

    def _limited(self, limits: Floats, history: History) -> FeasibleSpace:
        """Return the designs that also keep to limits on the priced goals."""
        if not self.priced:
            return self.allowed
        allowed, bounds = self.allowed, []
        for name, sign, limit in zip(self.priced, history.signs[1:], limits, strict=True):
            unit = allowed.table.unit(name)
            most = sign * math.floor(limit) * unit
            bounds.append(Bound(name, "max" if sign > 0 else "min", most, unit))
        return FeasibleSpace(allowed.space, allowed.table, (*allowed.bounds, *bounds))

    def _climb(
        self,
        beam: Rows,
        surrogate: Surrogate,
        improvement: Improvement,
        history: History,
        rng: np.random.Generator,
    ) -> Design | None:
        """Return the new design of most expected improvement that a local search finds, if any."""

        def judged(rows: Rows) -> Floats:
            means, deviations = surrogate.predict(self._covariance.encode(rows))
            return improvement.log(means, deviations, self._prices(rows, history))

        taken = set(_keys(self.allowed.space.arrays(list(history.taken))))
        values, seen = judged(beam), set(_keys(beam))
        best, most, idle = None, -np.inf, 0
        rows, gains = beam, values
        for _ in range(_ROUNDS):
            new = np.array([key not in taken for key in _keys(rows)], dtype=np.bool_)
            new &= self.allowed.admits(*rows)
            idle += 1
            if new.any() and gains[new].max() > most:
                top = np.flatnonzero(new)[int(np.argmax(gains[new]))]
                best, most, idle = rows.take(np.array([top])), gains[top], 0
            if idle == 2:
                break
            rows = self._neighbourhood.around(beam, _NEIGHBOURS, rng)
            rows = rows.take(_firsts(rows, seen))
            rows = rows.take(self.allowed.admits(*rows))
            if not len(rows.variants):
                break
            gains = judged(rows)
            beam, values = _joined(beam, rows), np.concatenate([values, gains])
            kept = np.argsort(-values, kind="stable")[:_BEAM]
            beam, values = beam.take(kept), values[kept]
        return None if best is None else self.allowed.space.designs(best)[0]


def weighed(losses: Floats, rng: np.random.Generator) -> Floats:
    """Return one loss for each design that has several, [N, K] to [N], by random weights.

    The augmented Chebyshev scalarisation of ParEGO (Knowles 2006), on losses between 0 and 1.
    """
    low, high = losses.min(axis=0), losses.max(axis=0)
    unit = (losses - low) / np.where(high > low, high - low, 1.0)
    shares = unit * rng.dirichlet(np.ones(losses.shape[1]))
    return np.asarray(shares.max(axis=1) + _AUGMENTED * shares.sum(axis=1))


def _keys(rows: Rows) -> list[bytes]:
    """Return something for each design that is equal for equal ones."""
    table = np.concatenate([rows.layers, rows.sizes, rows.variants[:, None]], axis=1)
    return [row.tobytes() for row in table]


def _firsts(rows: Rows, seen: set[bytes]) -> Flags:
    """Tell which designs were not seen, and count them as seen."""
    found: Flags = np.zeros(len(rows.variants), dtype=np.bool_)
    for index, key in enumerate(_keys(rows)):
        found[index] = key not in seen
        seen.add(key)
    return found


def _joined(one: Rows, other: Rows) -> Rows:
    return Rows(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))
