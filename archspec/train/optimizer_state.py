"""What optimizers keep, by name: what is written to a checkpoint, and what one is read into.

Each value is ``optimizer/PARAMETER/KEY``. What has no elements is not written, nor is the state of
a parameter that never had a gradient: there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from archspec.compiler.boxes import held
from archspec.kernels.row_optimizer.joint import JointOptimizer

OPTIMIZER = "optimizer/"


def kept_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yield what the optimizer keeps; a part without elements is left to the ranks that have it."""
    state = optimizer.state
    for prefix, parameter in _learned(model, optimizer):
        if held(parameter).numel():
            found = state.get(parameter, {})
            yield from ((prefix + key, value) for key, value in found.items() if value.numel())


class StateToFill:
    """Zeros of the form that a checkpoint's values have, and then the optimizer's state.

    Args:
        model: The model.
        optimizer: Of its parameters; unchanged until :meth:`take`.
        names: What the checkpoint holds: decay that rows owe is there or not, and so is all that
            is kept for a parameter.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, names: Collection[str]
    ) -> None:
        self._optimizer = optimizer
        self._states = {
            prefix: (parameter, self._zeros(parameter, prefix, names))
            for prefix, parameter in _learned(model, optimizer)
        }

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What is to be filled, by name."""
        return {
            prefix + key: value
            for prefix, (_, state) in self._states.items()
            for key, value in state.items()
            if value.numel()
        }

    def take(self) -> None:
        """Make what was filled the optimizer's state."""
        for parameter, state in self._states.values():
            if isinstance(self._optimizer, JointOptimizer):
                self._optimizer.take_state(parameter, state)
            elif state:
                self._optimizer.state[parameter] = state
            else:
                self._optimizer.state.pop(parameter, None)

    def _zeros(
        self, parameter: nn.Parameter, prefix: str, names: Collection[str]
    ) -> dict[str, Tensor]:
        if f"{prefix}step" not in names:
            return {}
        if isinstance(self._optimizer, JointOptimizer) and self._optimizer.has_rows_of(parameter):
            decays = f"{prefix}decay_total" in names
            return self._optimizer.rows.blank_state(parameter, decays=decays)
        return {
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            "step": torch.zeros((), device=parameter.device),
        }


def _learned(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the optimizer's parameters, by the prefix of their values' names."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield f"{OPTIMIZER}{names[parameter]}/", parameter
