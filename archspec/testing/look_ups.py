"""Look-ups into a table for tests: the contract of the ops that take them, and the hard ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from archspec.testing.kernels import KernelContract
from archspec.testing.tensors import Args, magnitudes

SLOTS, PICKS, WIDTH = 11, 5, 7
MANY_SLOTS = 300  # of the table that the hard look-ups read


def uniform(tokens: int, picks: int, slots: int) -> Tensor:
    """Draw look-ups that hit every row alike, [tokens, picks] int64."""
    return torch.randint(0, slots, (tokens, picks))


def zipf(tokens: int, picks: int, slots: int) -> Tensor:
    """Draw look-ups of which row r gets a share of 1 / (r + 1), [tokens, picks] int64."""
    shares = torch.arange(1, slots + 1).double().reciprocal()
    return torch.multinomial(shares, tokens * picks, replacement=True).view(tokens, picks)


# Name -> indices [tokens, picks] into MANY_SLOTS rows.
HARD_LOOK_UPS: Mapping[str, Callable[[], Tensor]] = {
    "one pick": lambda: uniform(40, 1, MANY_SLOTS),
    "duplicates in a bag": lambda: uniform(40, 1, MANY_SLOTS).expand(-1, 6).contiguous(),
    "one row hit by all": lambda: torch.full((100, 16), 17),
    "one row hit by very many": lambda: torch.full((4096, 16), 17),
    "sorted": lambda: torch.arange(40 * 6).view(40, 6),
    "zipf": lambda: zipf(200, 16, MANY_SLOTS),
}


class LookUpContract(KernelContract):
    """The contract of an op that takes ``indices`` [tokens, picks] into a table.

    A subclass declares ``sample_of`` alone.
    """

    @abstractmethod
    def sample_of(self, dtype: torch.dtype, indices: Tensor, *, slots: int, width: int) -> Args:
        """Draw arguments that make these look-ups into a table [slots, width]."""

    def sample(self, dtype: torch.dtype, tokens: int) -> Args:
        """See :class:`OpContract`."""
        return self.sample_of(dtype, uniform(tokens, PICKS, SLOTS), slots=SLOTS, width=WIDTH)

    def sample_of_width(self, dtype: torch.dtype, width: int) -> Args:
        """See :class:`OpContract`."""
        return self.sample_of(dtype, uniform(9, PICKS, SLOTS), slots=SLOTS, width=width)

    def hard_samples(self) -> Mapping[str, Callable[[torch.dtype], Args]]:
        """Make each of the hard look-ups."""

        def drawn(draw: Callable[[], Tensor]) -> Callable[[torch.dtype], Args]:
            return lambda dtype: magnitudes(
                self.sample_of(dtype, draw(), slots=MANY_SLOTS, width=WIDTH)
            )

        return {
            **super().hard_samples(),
            **{name: drawn(draw) for name, draw in HARD_LOOK_UPS.items()},
        }
