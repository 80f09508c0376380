"""Losses over placements that need no training, of several structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import Flags
from archspec.search.features import Floats
from archspec.search.space import Rows


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A loss as tables. L layers, C choices, S sizes, M links.

    Attributes:
        own: What a choice does at a layer, [L, C].
        links: Pairs of layers that interact, each with what two choices do there, [C, C].
        counts: What having a choice in so many layers does, [C, L + 1].
        pools: What a pool's size does, if it is read, [S].
        reads: Whether a choice reads the pool, [L, C].
    """

    own: Floats
    links: tuple[tuple[int, int, Floats], ...]
    counts: Floats
    pools: Floats
    reads: Flags

    def of(self, rows: Rows) -> Floats:
        """Return the losses of designs of a space with one variant and one pool, [N]."""
        layers, depth = rows.layers, len(self.own)
        total: Floats = self.own[np.arange(depth), layers].sum(axis=1)
        for one, other, table in self.links:
            total += table[layers[:, one], layers[:, other]]
        for choice, table in enumerate(self.counts):
            total += table[(layers == choice).sum(axis=1)]
        read = self.reads[np.arange(depth), layers].any(axis=1)
        return np.asarray(total + self.pools[rows.sizes[:, 0]] * read)


# How much the loss of a layer varies by each structure; see ``draw_tables``.
STRUCTURES: Mapping[str, Mapping[str, float]] = {
    "interacting": {"own": 0.7, "neighbours": 0.7, "pairs": 0.7},
    "additive": {"own": 1.0},
    "neighbours": {"own": 0.3, "neighbours": 1.0},
    "saturating": {"own": 0.4, "saturation": 1.0},
    "bumps": {"own": 0.2, "bumps": 1.0},
}


def draw_tables(
    reads: Flags,
    num_sizes: int,
    rng: np.random.Generator,
    *,
    own: float = 0.0,
    bumps: float = 0.0,
    neighbours: float = 0.0,
    pairs: float = 0.0,
    saturation: float = 0.0,
) -> Tables:
    """Draw tables.

    Args:
        reads: Whether a choice reads the pool, [L, C].
        num_sizes: Sizes of the pool.
        rng: Draws them.
        own: Each choice at each layer by itself.
        bumps: Each choice is good or bad around some depth.
        neighbours: Each choice beside each other one, alike at all depths.
        pairs: Some pairs of layers anywhere, each in its own way.
        saturation: Each further layer of a choice does less: the logarithm of how many there are.
    """
    depth, choices = reads.shape
    positions = np.arange(depth)
    centers, widths = rng.uniform(0, depth, choices), rng.uniform(0.08, 0.25, choices) * depth
    bump = np.exp(-0.5 * ((positions[:, None] - centers) / widths) ** 2)
    beside = neighbours * rng.normal(size=(choices, choices))
    links = [(i, i + 1, beside) for i in range(depth - 1)] if neighbours else []
    for _ in range(depth // 2 if pairs else 0):
        one, other = np.sort(rng.choice(depth, 2, replace=False)).tolist()
        links.append((one, other, pairs * rng.normal(size=(choices, choices))))
    helps = saturation * depth**0.5 * rng.normal(size=choices)
    return Tables(
        own=own * rng.normal(size=(depth, choices)) + 2 * bumps * rng.normal(size=choices) * bump,
        links=tuple(links),
        counts=-helps[:, None] * np.log1p(np.arange(depth + 1)),
        pools=0.5 * rng.normal(size=num_sizes),
        reads=reads,
    )
