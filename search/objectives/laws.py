"""Published laws of the loss of language models, with the ranges they were fitted on.

N counts parameters with embeddings, D tokens, E experts; losses are in nats per token of the law's
own data and vocabulary, so they rank designs and predict no run of yours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a law was fitted on, ends included.

    Attributes:
        quantity: What they are of, as it is called elsewhere.
        symbol: As the law writes it.
    """

    quantity: str
    symbol: str
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


class Law(Protocol):
    """A loss as a function of counts."""

    source: str
    params: Range
    tokens: Range | None
    experts: Range

    def loss(self, params: float, tokens: float, experts: int) -> float:
        """Return the predicted loss; whether the counts are in range is not asked here."""
        ...


class DenseLaw:
    """L = E + A / N^alpha + B / D^beta (Besiroglu et al., arXiv 2404.10102).

    A refit of the third approach of Hoffmann et al. (arXiv 2203.15556); the range is what that
    paper says of its runs.
    """

    source = "Besiroglu et al., arXiv 2404.10102"
    params = Range("num_params", "N", 70e6, 16e9)
    tokens: Range | None = Range("tokens", "D", 5e9, 500e9)
    experts = Range("num_experts", "E", 1, 1)

    def loss(self, params: float, tokens: float, experts: int) -> float:
        """Return the predicted loss."""
        return 1.8172 + 482.01 * math.pow(params, -0.3478) + 2085.43 * math.pow(tokens, -0.3658)


class MoeLaw:
    """L = a Ê^delta N^(alpha + gamma ln Ê) + b Ê^omega D^(beta + zeta ln Ê) + c.

    Ludziejewski et al. (arXiv 2502.05172); N counts active parameters, and Ê is E as
    1 / Ê = 1 / (E - 1 + (1 / Es - 1 / Em)^-1) + 1 / Em. Fitted on models whose every layer routes
    each token to one of E experts. The range of D is not among the facts we have; it is not
    checked.
    """

    source = "Ludziejewski et al., arXiv 2502.05172"
    params = Range("num_active_params", "N", 79e6, 2.7e9)
    tokens: Range | None = None
    experts = Range("num_experts", "E", 1, 32)

    def loss(self, params: float, tokens: float, experts: int) -> float:
        """Return the predicted loss."""
        least, most = 2.0732, 290.4521
        start = 1 / (1 / least - 1 / most)
        effective = 1 / (1 / (experts - 1 + start) + 1 / most)
        log = math.log(effective)
        model = 35.91 * math.pow(effective, -0.2285) * math.pow(params, -0.1889 + 0.0098 * log)
        data = 35.98 * math.pow(effective, 0.5529) * math.pow(tokens, -0.1775 - 0.0259 * log)
        return model + data + 1.3637


LAWS: Mapping[str, Law] = {"dense": DenseLaw(), "moe": MoeLaw()}
