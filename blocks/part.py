"""What every module of ours is: one that says how its parameters start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import nn

from archspec.initialisers import Initialiser


class Part(nn.Module, ABC):
    """A module that says how its parameters start."""

    @abstractmethod
    def initialisers(self) -> Mapping[str, Initialiser]:
        """Map each parameter, by dotted local name, to its initialiser.

        Parameters of a part within this part are left to that part.
        """


def select_present(
    starts: Mapping[str, Initialiser], module: nn.Module
) -> Mapping[str, Initialiser]:
    """Return the entries whose parameter exists: biases, norms and gates are optional."""
    present = {name for name, _ in module.named_parameters()}
    return {name: start for name, start in starts.items() if name in present}
