"""Two optimizers that look like one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from archspec.kernels.row_optimizer.optimizer import RowOptimizer


class JointOptimizer(torch.optim.Optimizer):
    """A row optimizer for the tables and another, AdamW say, for the rest.

    Groups, state and state_dict are those of both, tables first, so that schedulers and checkpoints
    see one optimizer.

    Args:
        rows: Of the tables.
        rest: Of everything else.
    """

    def __init__(self, rows: RowOptimizer, rest: torch.optim.Optimizer) -> None:
        self.rows = rows
        self.rest = rest
        super().__init__([*rows.param_groups, *rest.param_groups], {})
        self._join_groups()

    # The base class assigns an empty state; ours is that of the parts.
    @property
    def state(self) -> defaultdict[Tensor, Any]:
        """What both hold, by parameter."""
        return defaultdict(dict, {**self.rows.state, **self.rest.state})

    @state.setter
    def state(self, value: defaultdict[Tensor, Any]) -> None:
        assert not value, "the state belongs to the parts"

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: to the tables' if it says where they collect (``row_gradients``)."""
        held = [*self.rows.param_groups, *self.rest.param_groups]
        if any(param_group is group for group in held):  # the base class adds what the parts have
            super().add_param_group(param_group)
            return
        part = self.rows if "row_gradients" in param_group else self.rest
        part.add_param_group(param_group)
        self._join_groups()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step both; ``closure`` runs once, before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.rows.step()
        self.rest.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of both."""
        self.rows.zero_grad(set_to_none)
        self.rest.zero_grad(set_to_none)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` of a joint optimizer of the same groups gave."""
        groups, count = state_dict["param_groups"], len(self.rows.param_groups)
        expected = count + len(self.rest.param_groups)
        if len(groups) != expected:
            raise ValueError(
                f"JointOptimizer: the state has {len(groups)} groups instead of {expected}; load "
                "the state of the same optimizers"
            )
        self.rows.load_state_dict(_part(state_dict, groups[:count]))
        self.rest.load_state_dict(_part(state_dict, groups[count:]))
        self._join_groups()

    def has_rows_of(self, parameter: Tensor) -> bool:
        """Whether a parameter is one of the tables."""
        return any(parameter is p for group in self.rows.param_groups for p in group["params"])

    def take_state(self, parameter: Tensor, state: dict[str, Any]) -> None:
        """Take over a parameter's state as it is, without a copy; an empty one is none."""
        if self.has_rows_of(parameter):
            self.rows.take_state(parameter, state)
        elif state:
            self.rest.state[parameter] = state
        else:
            self.rest.state.pop(parameter, None)

    def _join_groups(self) -> None:
        """List the parts' own groups: a scheduler that changes one changes the part's."""
        self.param_groups = [*self.rows.param_groups, *self.rest.param_groups]


def _part(state_dict: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    members = {index for group in groups for index in group["params"]}
    state = {index: held for index, held in state_dict["state"].items() if index in members}
    return {"state": state, "param_groups": groups}
