"""What every attention type declares: a frozen config that checks and prices itself.

A config's life is that of a block's: the loader picks the class by ``type`` and validates it,
``check`` judges it within its model, ``resolved`` fills in what depends on the model, ``cost``
prices it, and only then does ``model.attention.registry`` build it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Self

from archspec.blocks.base import CostContext, Fault
from archspec.blocks.layout import AxisSizes, ParameterLayout
from archspec.quantities import Cost
from archspec.schema import Schema


class AttentionConfig(Schema):
    """The declaration of a layer's attention. Subclasses are final, one per ``type``."""

    type: str

    @property
    def is_identity(self) -> bool:
        """Tell whether there is no attention, hence no norm for it either."""
        return False

    def check(self, d_model: int) -> Iterator[Fault]:
        """Yield every rule this config breaks in a model of width ``d_model``."""
        yield from ()

    def resolved(self, d_model: int) -> Self:
        """Fill in the defaults that depend on the model."""
        return self

    @abstractmethod
    def size(self) -> str:
        """Say how large the attention is, in a few words for a table column."""

    @abstractmethod
    def cost(self, context: CostContext) -> Cost:
        """Price one layer's attention, without the norms around it."""

    def kept_bytes(self, context: CostContext) -> int:
        """Count the activation bytes per token that selective recompute keeps.

        As many as without: rotated queries and keys go, as large as the unrotated ones that stay,
        and the input goes, as large as the projected output that stays.
        """
        return self.cost(context).activation_bytes_per_token

    def layout(self, d_model: int) -> dict[str, ParameterLayout]:
        """Return the layout of every parameter, by its name in the module."""
        return {}

    def sharding_faults(self, d_model: int, sizes: AxisSizes) -> Iterator[Fault]:
        """Yield every rule that the axes of a mesh break, as ``blocks.layout.Sharding`` does."""
        yield from ()

    def on_rank(self, tp: int) -> Self:
        """Return what one of ``tp`` ranks computes, if that breaks no rule: a part of the heads."""
        return self

    @property
    def cache_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """What the cache keeps of one token, each part by name with its shape."""
        return {}

    def cached_tokens(self, tokens: int) -> int:
        """How many of ``tokens`` tokens the cache holds; a window forgets the oldest."""
        return tokens

    def kv_bytes(self, tokens: int, element_bytes: int) -> int:
        """Return the bytes of the cache of one sequence of ``tokens`` tokens."""
        elements = sum(math.prod(shape) for shape in self.cache_shapes.values())
        return self.cached_tokens(tokens) * elements * element_bytes


def mean_keys(context: CostContext, window: int | None = None) -> Fraction:
    """Return how many keys a query of a sequence is multiplied with, averaged over the queries.

    In full that is all s of them, as FlopCounterMode counts masked keys too. The causal convention
    is the exact area under min(position, w): ``w - w ** 2 / (2 s)``, which is s / 2 at w = s.
    """
    length = context.seq_len
    if not context.causal:
        return Fraction(length)
    seen = length if window is None else min(window, length)
    return seen - Fraction(seen * seen, 2 * length)
