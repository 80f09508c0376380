"""Designs by integer programming: the best under linear scores that keeps to every bound.

Every variant has a program of its own. Those that cannot beat the best design found so far are not
solved. HiGHS works in floating point; its answer is checked in integers, and one that breaks a
bound by a rounding is cut off and the program solved again, so no design is lost and none comes out
that does not fit.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from archspec.cost.pricing import ALL_QUANTITIES
from archspec.search.budget import Bound, feasible
from archspec.search.features import Floats, Scores
from archspec.search.prices import SpacePrices
from archspec.search.space import Design, Space
from archspec.search.variant_program import SolverError, VariantProgram

__all__ = ["Objective", "Program", "SolverError"]
_GOOD = 2e-2  # gap of a good design that no dive finds
_LAZY_CUTS = 8  # so many known designs are cut off one by one, then all the others at once


@dataclass(frozen=True, slots=True)
class Objective:
    """What a program makes least.

    Attributes:
        vectors: Of each variant.
        factors: What makes the variants' objectives comparable.
        offsets: Likewise.
        quantity: The quantity that it is, None for a score.
        sign: -1 for a quantity that is made most.
    """

    vectors: tuple[Floats, ...]
    factors: tuple[float, ...]
    offsets: tuple[float, ...]
    quantity: str | None = None
    sign: int = 1

    def __neg__(self) -> Objective:
        return dataclasses.replace(
            self,
            vectors=tuple(-vector for vector in self.vectors),
            offsets=tuple(-offset for offset in self.offsets),
            sign=-self.sign,
        )


class Program:
    """The integer program of a space under bounds, built once and solved for many objectives.

    Attributes:
        num_genes: The most genes of any variant.
        width: The most choices of any gene.
    """

    def __init__(
        self,
        space: Space,
        table: SpacePrices,
        bounds: Sequence[Bound],
        wanted: Collection[str] = (),
    ) -> None:
        """Set up the program.

        Args:
            space: The designs.
            table: Their prices.
            bounds: What they must keep to.
            wanted: Quantities that ``quantity`` is asked for.
        """
        self._wanted = tuple(wanted)
        self._space = space
        self._table = table
        self._bounds = tuple(bounds)
        self.num_genes = space.num_genes
        self.width = max(part.width for part in space.parts)

    @functools.cached_property
    def _programs(self) -> tuple[VariantProgram, ...]:
        pairs = zip(self._space.parts, self._table.tables, strict=True)
        return tuple(
            VariantProgram(part, table, self._bounds, self._wanted) for part, table in pairs
        )

    def scores(self, layers: Floats, pools: Sequence[Floats] = ()) -> Objective:
        """Return the objective that adds one score per chosen layer and one per pool and size.

        Args:
            layers: Score of each choice of each gene, [G, C], the same in every variant.
            pools: For each pool, the score of having it at each size, [S]; none by default.
        """
        return self.objective([Scores(layers, pools)] * len(self._space.parts))

    def objective(self, scores: Sequence[Scores]) -> Objective:
        """Return the objective that is a score, given for each variant."""
        pairs = zip(self._programs, scores, strict=True)
        return Objective(
            tuple(program.objective(score) for program, score in pairs),
            (1.0,) * len(scores),
            tuple(score.offset for score in scores),
        )

    def quantity(self, name: str) -> Objective:
        """Return the objective that is a wanted quantity; its negative makes it most."""
        found = [program.quantity(name) for program in self._programs]
        vectors, factors, offsets = zip(*found, strict=True)
        return Objective(vectors, factors, offsets, quantity=name)

    def best(
        self, objective: Objective, *, excluded: Collection[Design] = (), gap: float = 0.0
    ) -> Design | None:
        """Return the design with the least objective, None if no design is left.

        Args:
            objective: From ``scores``, ``objective`` or ``quantity``.
            excluded: Designs that must not come out.
            gap: Relative distance from the optimum that is good enough.

        Raises:
            SolverError: If HiGHS gives up.
        """
        return self._over_variants(
            objective, lambda index, vector: self._best_of(index, vector, excluded, gap)
        )

    def good(self, objective: Objective) -> Design | None:
        """Return a design whose objective is near the least, None if there is no design.

        A few times as fast as ``best`` and, mostly, better than that with a gap of a percent.

        Raises:
            SolverError: If HiGHS gives up.
        """
        return self._over_variants(objective, self._good_of)

    def _over_variants(
        self, objective: Objective, found: Callable[[int, Floats], Design | None]
    ) -> Design | None:
        """Return the best of what is found in variants that may have something better."""
        best: Design | None = None
        least = np.inf
        for floor, variant in self._most_promising_first(objective):
            if floor >= least:
                break
            design = found(variant, objective.vectors[variant])
            if design is None:
                continue
            value = self._value(objective, design)
            if value < least:
                best, least = design, value
        return best

    def _good_of(self, variant: int, objective: Floats) -> Design | None:
        genes = self._programs[variant].dive(objective)
        if genes is not None:
            design = self._space.normal(*genes, variant)
            if self._fits(design):
                return design
        return self._best_of(variant, objective, (), _GOOD)

    def _most_promising_first(self, objective: Objective) -> Iterator[tuple[float, int]]:
        """Yield a value that no design of a variant is below, and the variant, lowest first."""
        floors = (
            objective.factors[index] * program.least(objective.vectors[index])
            + objective.offsets[index]
            for index, program in enumerate(self._programs)
        )
        yield from sorted((floor, index) for index, floor in enumerate(floors))

    def _value(self, objective: Objective, design: Design) -> float:
        if objective.quantity is not None:
            row = self._table.prices(*self._space.arrays([design]))[0]
            return objective.sign * float(row[ALL_QUANTITIES.index(objective.quantity)])
        index = design.variant
        value = self._programs[index].value(objective.vectors[index], (design.layers, design.sizes))
        return objective.factors[index] * value + objective.offsets[index]

    def _best_of(
        self, variant: int, objective: Floats, excluded: Collection[Design], gap: float
    ) -> Design | None:
        cuts: list[Design] = []
        lazy = _LAZY_CUTS
        while True:
            cut = [(design.layers, design.sizes) for design in cuts]
            genes = self._programs[variant].solve(objective, cut, gap)
            if genes is None:
                return None
            design = self._space.normal(*genes, variant)
            known = design in excluded
            if not known and self._fits(design):
                return design
            cuts.append(design)
            lazy -= known
            if lazy == 0:
                others = (design for design in excluded if design.variant == variant)
                cuts = [*(cut for cut in cuts if cut not in excluded), *others]

    def nearest(
        self, design: Design, rng: np.random.Generator, *, excluded: Collection[Design] = ()
    ) -> Design | None:
        """Return an allowed design that differs from ``design`` in as few layers as possible.

        Which of several equally near ones is up to ``rng``; keeping a pool's size counts half a
        layer. Other variants come after all of its own.
        """
        part = self._space.parts[design.variant]
        layers = rng.uniform(0.9, 1.1, size=(len(part.genes), part.width))
        layers[np.arange(len(part.genes)), design.layers] = 0.0
        pools = [
            np.where(np.arange(len(sizes)) == size, 0.0, 0.5)
            for size, sizes in zip(design.sizes, self._space.pools.values(), strict=True)
        ]
        own = self._programs[design.variant].objective(Scores(layers, pools))
        found = self._best_of(design.variant, own, excluded, 0.01)
        if found is not None or len(self._space.parts) == 1:
            return found
        return self.best(self.random(rng), excluded=excluded, gap=0.1)

    def random(self, rng: np.random.Generator) -> Objective:
        """Return an objective that prefers random choices in random variants."""
        return self.objective(
            [
                Scores(
                    rng.normal(size=(len(part.genes), part.width)),
                    [rng.normal(size=len(sizes)) for sizes in part.pools.values()],
                    float(rng.normal(scale=np.sqrt(len(part.genes)))),
                )
                for part in self._space.parts
            ]
        )

    def _fits(self, design: Design) -> bool:
        prices = self._table.prices(*self._space.arrays([design]))
        return bool(feasible(self._bounds, prices)[0])
