"""A search with its documents loaded and its names checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from archspec.spec.hardware import HardwareSpec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.search.budgets import Budgets
from archspec.spec.search.check_judging import PRICES
from archspec.spec.search.document import SearchDocument
from archspec.spec.search.objective import Goal, goals
from archspec.spec.search.proxy import Proxy
from archspec.spec.search.rungs import Rung
from archspec.spec.search.variant import Variant
from archspec.spec.train import TrainSpec


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """A search with its documents loaded and its names checked.

    Attributes:
        document: The document itself, its paths as written.
        base: The base model as its document gives it; relative budgets are factors of its price.
        base_document: That document with what it extends, as plain values.
        plan: The plan as its document gives it, None without one.
        hardware: The device that times are for, None if none is named.
        world_size: All ranks, where the plan leaves them open.
        variants: One for each combination of what varies outside layers and pools.
        pool_sizes: Pool name to the values its num_keys may take, in the order given.
    """

    document: SearchDocument
    base: ModelSpec
    base_document: Mapping[str | int, Any]
    train: TrainSpec
    plan: PlanSpec | None
    hardware: HardwareSpec | None
    world_size: int | None
    variants: tuple[Variant, ...]
    pool_sizes: Mapping[str, tuple[int, ...]]
    budgets: Budgets
    metric: str
    direction: Literal["minimize", "maximize"]
    seeds: int
    trials: int
    finalists: int
    hand_finalists: int
    sampler: str
    seed: int

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What is improved, the judged metric first; one goal unless others are declared."""
        return goals(self.document.objective, PRICES)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs; none if every design is trained for the tokens of the train document."""
        return tuple(self.document.rungs)

    @property
    def proxy(self) -> Proxy | None:
        """What is trained in place of designs, None if designs are trained themselves."""
        return self.document.proxy
