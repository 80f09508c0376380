"""How many designs keep to the budgets: counted, or estimated however rare they are.

Rare designs are found by importance sampling: choices are drawn in proportion to
``exp(-sum of prices x multipliers)``, whose normalisation the graph of placements gives exactly,
and multipliers are raised until the mean prices meet the limits. Each hit counts with the inverse
of its probability (Kahn and Marshall, "Methods of Reducing Sample Size in Monte Carlo
Computations", 1953).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archspec.search.budget import Bound
from archspec.search.feasible import FeasibleSpace
from archspec.search.features import Floats, Scores
from archspec.search.graph import PathSampler

_DRAWN = 20_000
_ENOUGH = 200  # hits of a plain sample that make it good enough
_ROUNDS, _TRIED = 25, 2_000
_HITS = 0.2  # share of hits at which the multipliers are good enough


@dataclass(frozen=True, slots=True)
class Share:
    """What share of a space fits.

    Attributes:
        value: Of all different designs; None where some fit, but none was met.
        exact: Every design was tried.
        error: Relative standard error of an estimate, 0 for an exact one.
    """

    value: float | None
    exact: bool = False
    error: float = 0.0


def feasible_share(allowed: FeasibleSpace, *, seed: int = 0) -> Share:
    """Return the share of designs that keep rules and budgets, of those that keep the rules.

    Exact for spaces that are listed; uniform draws otherwise, or importance sampling where these
    meet too few.
    """
    space = allowed.space
    if allowed.listed is not None:
        return Share(len(allowed.listed) / max(1, space.num_designs), exact=space.is_counted)
    rng = np.random.default_rng(seed)
    rows = space.draw(rng, _DRAWN)
    kept = allowed.admits(*rows)
    hits = int(kept.sum())
    if hits >= _ENOUGH:
        share = hits / len(kept)
        return Share(share, error=float(np.sqrt((1 - share) / hits)))
    found = [_variant_count(allowed, index, rng) for index in range(len(space.parts))]
    total, variance = (sum(values) for values in zip(*found, strict=True))
    if not total:
        return Share(None)
    return Share(total, error=float(np.sqrt(variance)) / total)


def _variant_count(
    allowed: FeasibleSpace, variant: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Estimate the designs of a variant that fit, over all of the space, and the variance."""
    space, part = allowed.space, allowed.space.parts[variant]
    if not part.graph.num_designs:
        return 0.0, 0.0
    sampler = _sampler(allowed, variant, rng)
    layers, sizes = sampler.draw(rng, _DRAWN)
    kept = allowed.admits(*space.rows(variant, layers, sizes))
    logs = sampler.log_total - sampler.log_weights(layers, sizes, part.read(layers))
    logs -= np.log(float(space.num_designs))
    values = np.where(kept, np.exp(np.where(kept, logs, 0.0)), 0.0)
    return float(values.mean()), float(values.var() / len(values))


def _sampler(allowed: FeasibleSpace, variant: int, rng: np.random.Generator) -> PathSampler:
    """Return a sampler of which a good part of all draws fits.

    The multipliers of the bounds go by Newton steps towards mean prices that meet the limits; of an
    exponential family the covariance of the prices is how the means move.
    """
    graph, bounds = allowed.space.parts[variant].graph, allowed.bounds
    signs = np.array([1.0 if bound.side == "max" else -1.0 for bound in bounds])
    costs = [_costs(allowed, variant, bound) for bound in bounds]
    limits = signs * np.array([float(bound.row_limit) for bound in bounds])
    columns = [bound.column for bound in bounds]
    multipliers = np.zeros(len(bounds))
    best, most = graph.uniform, -1.0
    for _ in range(_ROUNDS):
        factors = -multipliers * signs
        sampler = graph.tilted(
            sum((f * cost.layers for f, cost in zip(factors, costs, strict=True)), np.zeros(1)),
            [
                sum((f * cost.pools[pool] for f, cost in zip(factors, costs, strict=True)), 0.0)
                for pool in range(len(allowed.space.pools))
            ],
        )
        rows = allowed.space.rows(variant, *sampler.draw(rng, _TRIED))
        prices = allowed.table.prices(*rows)[:, columns] * signs
        hits = float(allowed.admits(*rows).mean())
        if hits > most:
            best, most = sampler, hits
        if most >= _HITS:
            break
        multipliers = _moved(multipliers, prices, limits)
    return best


def _moved(multipliers: Floats, prices: Floats, limits: Floats) -> Floats:
    """Return multipliers after one Newton step for the bounds that bind."""
    above = prices.mean(axis=0) - limits
    binding = (above > 0) | (multipliers > 0)
    if not binding.any():
        return multipliers
    spread = np.atleast_2d(np.cov(prices[:, binding], rowvar=False))
    deviations = np.sqrt(np.diag(spread))
    spread += np.diag(1e-6 * np.diag(spread) + 1e-12)
    # Half a deviation below the limit, so that most draws are; no step further than two.
    target = np.minimum(above[binding] + 0.5 * deviations, 2 * deviations)
    moved = multipliers.copy()
    moved[binding] += np.linalg.lstsq(spread, target, rcond=None)[0]
    return np.maximum(moved, 0.0)


def _costs(allowed: FeasibleSpace, variant: int, bound: Bound) -> Scores:
    """Return what choices and pools add to a bounded quantity; readers with sizes averaged."""
    part, table = allowed.space.parts[variant], allowed.table.tables[variant]
    terms = table.sums[bound.quantity]
    own = table.average(terms)
    found: Floats = np.zeros((len(part.genes), own.shape[1]))
    np.add.at(found, part.gene_of, own)
    return Scores(found, terms.rows)
