"""What every module of ours is: one that says how its parameters start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from archspec.initialisers import Initialiser


class Part(nn.Module, ABC):
    """A module that says how its parameters start."""

    @abstractmethod
    def initialisers(self) -> Mapping[str, Initialiser]:
        """Map each parameter, by dotted local name, to its initialiser.

        Parameters of a part within this part are left to that part.
        """


def local(parameter: Tensor) -> Tensor:
    """Return what this process holds of a parameter: all of it, unless it is laid over several.

    Modules read their own parameters through this. Where every process of a mesh axis holds all of
    a parameter that is laid over that axis, each uses it for its part of the work, and the
    gradients are to be summed.
    """
    if type(parameter) in (Tensor, nn.Parameter):
        return parameter
    # Late: the import takes half a second, which a model on one device need not wait for.
    from torch.distributed.tensor import DTensor, Partial, Placement, Replicate

    if not isinstance(parameter, DTensor):
        return parameter
    grads: list[Placement] = [
        Partial() if isinstance(placement, Replicate) else placement
        for placement in parameter.placements
    ]
    result: Tensor = parameter.to_local(grad_placements=grads)
    return result


def select_present(
    starts: Mapping[str, Initialiser], module: nn.Module
) -> Mapping[str, Initialiser]:
    """Return the entries whose parameter exists: biases, norms and gates are optional."""
    present = {name for name, _ in module.named_parameters()}
    return {name: start for name, start in starts.items() if name in present}
