"""All placements of a variant as paths through a graph of states: counted, listed, drawn exactly.

Genes are chosen one after another. A state is what later choices need to know of earlier ones: how
many layers contain what is counted, which side of a forbidden pair stands next to genes still to
come, and which pools are read. Every path is one placement, and stands for as many designs as the
pools it reads have sizes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archspec.cost.pricing import Flags, Ints

Floats = npt.NDArray[np.float64]
MOST_STATES = 5_000  # of one gene; beyond, rules are left out of the graph
_NOWHERE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the graph knows of a variant. G genes, C choices, P pools.

    Attributes:
        num_choices: Choices of each gene.
        reads: Whether a choice reads a pool, [P, G, C].
        num_sizes: Sizes of each pool.
        counted: For each count rule, in how many of a gene's layers a choice counts, [R, G, C].
        limits: Least and most of each count rule.
        firsts: The forbidden pairs, as bits, whose first a choice contains, by gene: [C].
        seconds: Likewise their second.
        neighbours: Ordered pairs of genes that have layers next to each other.
    """

    num_choices: tuple[int, ...]
    reads: Flags
    num_sizes: tuple[int, ...]
    counted: Ints
    limits: tuple[tuple[int, int | None], ...]
    firsts: tuple[tuple[int, ...], ...]
    seconds: tuple[tuple[int, ...], ...]
    neighbours: frozenset[tuple[int, int]]


_State = tuple[tuple[int, ...], tuple[tuple[int, int, int], ...], int]


class PlacementGraph:
    """The graph of a variant.

    Attributes:
        exact: Whether it knows every rule; otherwise some of its paths break one that was left out
            because it has too many states.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._kept = list(range(len(rules.limits)))
        self._neighbours = rules.neighbours
        while (steps := self._build()) is None:
            self._leave_out_a_rule()
        self._next, last = steps
        self.exact = self._kept == list(range(len(rules.limits)))
        self.exact &= self._neighbours == rules.neighbours
        self._masks: Ints = np.array([state[2] for state in last], dtype=np.int64)
        self._ends = [math.prod(self._sizes(int(mask))) for mask in self._masks]

    def _leave_out_a_rule(self) -> None:
        """Leave out the count that goes furthest, or after all counts the forbidden pairs."""
        if self._kept:
            self._kept.remove(max(self._kept, key=self._ceiling))
        else:
            self._neighbours = frozenset()

    def _ceiling(self, rule: int) -> int:
        """Return how far a rule must count: to its most, or else until its least is reached."""
        least, most = self._rules.limits[rule]
        return least if most is None else most

    def _build(self) -> tuple[list[Ints], list[_State]] | None:
        """Return for each gene the next state by state and choice; None if there are too many."""
        states: list[_State] = [((0,) * len(self._kept), (), 0)]
        steps: list[Ints] = []
        for gene, count in enumerate(self._rules.num_choices):
            known: dict[_State, int] = {}
            moves: Ints = np.full((len(states), count), _NOWHERE, dtype=np.int64)
            for number, state in enumerate(states):
                for choice in range(count):
                    after = self._step(state, gene, choice)
                    if after is not None:
                        moves[number, choice] = known.setdefault(after, len(known))
            if len(known) > MOST_STATES and (self._kept or self._neighbours):
                return None
            steps.append(moves)
            states = list(known)
        return steps, states

    def _step(self, state: _State, gene: int, choice: int) -> _State | None:
        counts, beside, mask = state
        first, second = self._rules.firsts[gene][choice], self._rules.seconds[gene][choice]
        for other, other_first, other_second in (*beside, (gene, first, second)):
            if (other, gene) in self._neighbours and other_first & second:
                return None
            if (gene, other) in self._neighbours and first & other_second:
                return None
        counted = []
        for before, rule in zip(counts, self._kept, strict=True):
            count = before + int(self._rules.counted[rule, gene, choice])
            least, most = self._rules.limits[rule]
            if most is not None and count > most:
                return None
            if most is None:
                count = min(count, least)  # more makes no difference
            if gene == len(self._rules.num_choices) - 1 and count < least:
                return None
            counted.append(count)
        last = self._last_neighbour
        live = tuple(
            entry
            for entry in (*beside, (gene, first, second))
            if self._neighbours and (entry[1] or entry[2]) and last[entry[0]] > gene
        )
        for pool in range(len(self._rules.num_sizes)):
            mask |= int(self._rules.reads[pool, gene, choice]) << pool
        return tuple(counted), live, mask

    @functools.cached_property
    def _last_neighbour(self) -> list[int]:
        last = [-1] * len(self._rules.num_choices)
        for one, other in self._rules.neighbours:
            last[one] = max(last[one], other)
            last[other] = max(last[other], one)
        return last

    def _sizes(self, mask: int) -> list[int]:
        """Return how many sizes each pool has in designs that read these pools."""
        sizes = self._rules.num_sizes
        return [count if mask >> pool & 1 else 1 for pool, count in enumerate(sizes)]

    @functools.cached_property
    def _below(self) -> list[list[int]]:
        """Count the designs below each state, gene by gene; those of the end last."""
        found = [self._ends]
        for moves in reversed(self._next):
            after = [*found[-1], 0]  # the last stands for nowhere, -1
            found.append([sum(after[state] for state in row) for row in moves.tolist()])
        return found[::-1]

    @property
    def num_designs(self) -> int:
        """How many designs its paths stand for."""
        return self._below[0][0]

    def enumerate(self, chunk: int) -> Iterator[tuple[Ints, Ints]]:
        """Yield layers [N, G] and sizes [N, P] of every design once, at most ``chunk`` at a time.

        Raises:
            OverflowError: If there are more than a machine word can number.
        """
        below: list[Ints] = [np.array([*row, 0], dtype=np.int64) for row in self._below]
        for start in range(0, self.num_designs, chunk):
            ranks = np.arange(start, min(start + chunk, self.num_designs), dtype=np.int64)
            states = np.zeros(len(ranks), dtype=np.int64)
            layers: Ints = np.empty((len(ranks), len(self._next)), dtype=np.int64)
            for gene, moves in enumerate(self._next):
                ends = below[gene + 1][moves].cumsum(axis=1)[states]
                chosen = (ends <= ranks[:, None]).sum(axis=1)
                before = np.concatenate([np.zeros((len(ranks), 1), dtype=np.int64), ends], axis=1)
                ranks = ranks - before[np.arange(len(ranks)), chosen]
                layers[:, gene], states = chosen, moves[states, chosen]
            yield layers, self._numbered_sizes(ranks, states)

    def _numbered_sizes(self, ranks: Ints, states: Ints) -> Ints:
        sizes: Ints = np.zeros((len(ranks), len(self._rules.num_sizes)), dtype=np.int64)
        for pool, count in enumerate(self._rules.num_sizes):
            read = (self._masks[states] >> pool & 1).astype(np.bool_)
            sizes[read, pool] = ranks[read] % count
            ranks = np.where(read, ranks // count, ranks)
        return sizes

    @functools.cached_property
    def uniform(self) -> PathSampler:
        """Draws every design with equal probability."""
        shape = (len(self._next), max(self._rules.num_choices))
        return self.tilted(np.zeros(shape), [np.zeros(count) for count in self._rules.num_sizes])

    def tilted(self, choices: Floats, pools: Sequence[Floats]) -> PathSampler:
        """Return a sampler that prefers some choices.

        Args:
            choices: Logarithm of the factor on the probability of each choice, [G, C].
            pools: For each pool that of having it at each size, [S].
        """
        return PathSampler(self._next, self._masks, choices, pools)


class PathSampler:
    """Draws designs in proportion to the product of the factors of their choices and sizes.

    Attributes:
        log_total: Logarithm of the sum of these products over all designs.
    """

    def __init__(
        self, moves: Sequence[Ints], masks: Ints, choices: Floats, pools: Sequence[Floats]
    ) -> None:
        """Set up a sampler.

        Args:
            moves: For each gene the next state by state and choice.
            masks: The pools that are read, as bits, by the last state.
            choices: As in ``PlacementGraph.tilted``.
            pools: Likewise.
        """
        self._moves = moves
        self._masks = masks
        self._choices = choices
        self._pools = list(pools)
        below: Floats = np.zeros(len(masks))
        for pool, factors in enumerate(self._pools):
            below += self._read(masks, pool) * np.logaddexp.reduce(factors)
        self._shares: list[Floats] = []
        for gene in reversed(range(len(moves))):
            after = np.append(below, -np.inf)[moves[gene]]
            scores = after + choices[gene, : moves[gene].shape[1]]
            top = scores.max(axis=1, initial=-np.inf, keepdims=True)
            top = np.where(np.isfinite(top), top, 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                cumulated = np.exp(scores - top).cumsum(axis=1)
                below = (np.log(cumulated[:, -1:]) + top)[:, 0]
                self._shares.append(cumulated / cumulated[:, -1:])
        self._shares.reverse()
        self.log_total = float(below[0])

    def _read(self, masks: Ints, pool: int) -> Flags:
        return (masks >> pool & 1).astype(np.bool_)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """Draw layers [N, G] and sizes [N, P]."""
        states = np.zeros(count, dtype=np.int64)
        layers: Ints = np.empty((count, len(self._moves)), dtype=np.int64)
        for gene, moves in enumerate(self._moves):
            shares = self._shares[gene][states]
            chosen = (shares[:, :-1] <= rng.random((count, 1))).sum(axis=1)
            layers[:, gene], states = chosen, moves[states, chosen]
        sizes: Ints = np.zeros((count, len(self._pools)), dtype=np.int64)
        for pool, factors in enumerate(self._pools):
            shares = np.exp(factors - np.logaddexp.reduce(factors)).cumsum()[:-1]
            drawn = np.searchsorted(shares, rng.random(count), side="right")
            sizes[:, pool] = drawn * self._read(self._masks[states], pool)
        return layers, sizes

    def log_weights(self, layers: Ints, sizes: Ints, read: Flags) -> Floats:
        """Return the logarithm of each design's product; less ``log_total`` of its probability.

        Args:
            layers: [N, G].
            sizes: [N, P].
            read: Which pools are read, [N, P].
        """
        total: Floats = self._choices[np.arange(layers.shape[1]), layers].sum(axis=1)
        for pool, factors in enumerate(self._pools):
            total += factors[sizes[:, pool]] * read[:, pool]
        return total
