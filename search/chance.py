"""What a search would have found by chance: the best of k random designs, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import gammaln

from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats
from archspec.search.samplers.covariance import Covariance
from archspec.search.samplers.surrogate import Surrogate
from archspec.search.space import Design, Rows

FEWEST_DRAWN = 10  # random trials, from which the best of fewer can be told
_POOL, _FEWEST_FOUND = 2000, 100  # random designs whose values are predicted
_BATCH, _BATCHES = 4096, 40
_DRAWS = 200  # of the fitted values


class ChanceCurve(BaseModel):
    """The best of the first k of random designs within budget, for k from 1.

    Attributes:
        basis: ``trials`` if measured on the random trials of this very search, ``fit`` if those
            were too few, so that values are drawn from what the default sampler learns.
        num_designs: Random designs that it rests on.
        middle: Expected best of k, or for ``fit`` its median over what the values may be.
        low: Lower end of where 80% of random searches would be.
        high: Upper end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    basis: Literal["trials", "fit"]
    num_designs: int
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def best_so_far(values: Sequence[float], *, sign: float) -> list[float]:
    """Return the best of the first k values, for k from 1.

    Args:
        values: In the order of their trials.
        sign: 1 if less is better, -1 if more is.
    """
    best: Floats = sign * np.minimum.accumulate(sign * np.asarray(values, dtype=np.float64))
    return [float(value) for value in best]


def chance_from_trials(values: Sequence[float], *, sign: float) -> ChanceCurve:
    """Return what k of these random designs come to, over all orders in which they might come.

    Exact, without replacement: the best of k of m is the j-th best in C(m - j, k - 1) of the
    C(m, k) cases.

    Args:
        values: Of designs drawn at random.
        sign: 1 if less is better, -1 if more is.
    """
    ordered = np.sort(sign * np.asarray(values, dtype=np.float64))
    shares = [_least_of(len(ordered), count) for count in range(1, len(ordered) + 1)]
    middle = np.array([share @ ordered for share in shares])
    ends = [[_quantile(ordered, share, level) for share in shares] for level in (0.1, 0.9)]
    return _curve("trials", len(ordered), sign * middle, sign * np.array(ends))


def _curve(
    basis: Literal["trials", "fit"], num_designs: int, middle: Floats, ends: Floats
) -> ChanceCurve:
    """Return a curve; ``ends`` are those of its band in either order, [2, k]."""
    return ChanceCurve(
        basis=basis,
        num_designs=num_designs,
        middle=tuple(middle.tolist()),
        low=tuple(ends.min(axis=0).tolist()),
        high=tuple(ends.max(axis=0).tolist()),
    )


def _least_of(total: int, count: int) -> Floats:
    """Return how likely each of ``total`` ordered values is the least of ``count`` drawn ones."""
    rank = np.arange(1, total + 1)
    possible = total - rank >= count - 1
    logs = np.full(total, -np.inf)
    logs[possible] = _log_choose(total - rank[possible], count - 1) - _log_choose(
        np.array(total), count
    )
    return np.asarray(np.exp(logs), dtype=np.float64)


def _log_choose(total: np.ndarray, count: int) -> Floats:
    found: Floats = gammaln(total + 1) - gammaln(count + 1) - gammaln(total - count + 1)
    return found


def _quantile(ordered: Floats, shares: Floats, level: float) -> float:
    index = int(np.searchsorted(np.cumsum(shares), level * (1 - 1e-9)))
    return float(ordered[min(index, len(ordered) - 1)])


def chance_from_fit(
    allowed: FeasibleSpace,
    designs: Sequence[Design],
    values: Sequence[float],
    count: int,
    *,
    sign: float,
    seed: int = 0,
) -> ChanceCurve | None:
    """Return what ``count`` random designs would come to, by what trained ones say of them.

    The surrogate is the default sampler's: it knows that a further layer of a block brings less,
    and that losses have a long tail towards the bad. A sum over layers, with as much noise to both
    sides, would have random designs come out better than any design is.

    Args:
        allowed: Whose designs are drawn.
        designs: Those that were trained.
        values: Of their first runs.
        count: The most designs.
        sign: 1 if less is better, -1 if more is.
        seed: Of the draws.

    Returns:
        None if designs within budget are too rare to draw enough.
    """
    rng = np.random.default_rng(seed)
    rows = _random_rows(allowed, rng)
    if rows is None:
        return None
    space = allowed.space
    covariance = Covariance(space)
    losses: Floats = sign * np.asarray(values, dtype=np.float64)
    surrogate = Surrogate(covariance, covariance.encode(space.arrays(designs)), losses)
    total = len(rows.variants)
    drawn = surrogate.trainings(covariance.encode(rows), rng, _DRAWS)  # [draws, designs]
    picked = np.array([rng.permutation(total)[: min(count, total)] for _ in range(_DRAWS)])
    least = np.minimum.accumulate(np.take_along_axis(drawn, picked, axis=1), axis=1)
    low, middle, high = (sign * np.quantile(least, level, axis=0) for level in (0.1, 0.5, 0.9))
    return _curve("fit", total, middle, np.array([low, high]))


def _random_rows(allowed: FeasibleSpace, rng: np.random.Generator) -> Rows | None:
    """Draw designs within budget uniformly, None if too few of them turn up."""
    space = allowed.space
    if allowed.listed is not None:
        rows = allowed.listed_arrays
        count = len(rows.variants)
        return rows.take(rng.permutation(count)[:_POOL]) if count else None
    found: list[Rows] = []
    for _ in range(_BATCHES):
        drawn = space.draw(rng, _BATCH)
        found.append(drawn.take(allowed.admits(*drawn)))
        if sum(len(rows.variants) for rows in found) >= _POOL:
            break
    rows = Rows(*(np.concatenate(column) for column in zip(*found, strict=True)))
    kept = rows.take(np.arange(min(_POOL, len(rows.variants))))
    return kept if len(kept.variants) >= _FEWEST_FOUND else None
