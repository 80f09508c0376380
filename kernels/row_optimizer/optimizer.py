"""A torch optimizer that updates the rows that look-ups touched, and only those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from archspec.kernels import dispatch
from archspec.kernels.row_gradient import Lookups, RowGradient
from archspec.kernels.row_optimizer import row_adagrad_, row_adam_, row_sgd_, stock
from archspec.kernels.row_optimizer.decay import LazyDecay
from archspec.kernels.row_optimizer.rounding import mix_seed
from archspec.kernels.row_optimizer.state import (
    DECAY_STATE,
    Rule,
    check_settings,
    check_table,
    held,
    loaded_state,
    new_decay,
    new_state,
    state_dtype,
)

_OPS: Mapping[str, str] = {
    "adam": "row_adam_",
    "rowwise_adam": "row_adam_",
    "rowwise_adagrad": "row_adagrad_",
    "sgd": "row_sgd_",
}
_ROUNDING, _DECAY, _SETTLING = range(3)  # what a seed is for


@dataclass(frozen=True, kw_only=True)
class RowUpdate:
    """How the last step updated a table.

    Args:
        table: Its place among all parameters of the optimizer.
        shape: Slots and width.
        implementation: The word of the implementation; see ``kernels/dispatch.py``.
        touched: Share of the rows that were updated.
        path: ``rows`` (touched rows one by one) or ``blocks`` (all rows, the rest masked).
        reason: Why this implementation and path.
    """

    table: int
    shape: tuple[int, int]
    implementation: str
    touched: float
    path: str
    reason: str

    def __str__(self) -> str:
        slots, width = self.shape
        return (
            f"table {self.table} [{slots}, {width}]: {self.implementation}, path {self.path}, "
            f"{self.touched:.1%} of the rows touched: {self.reason}"
        )


class RowOptimizer(torch.optim.Optimizer):
    """Updates tables of rows from their collected look-ups.

    A row without a look-up stays as it is, and so do its moments. The bias correction of Adam
    counts the steps of the table (as ``torch.optim.SparseAdam``). Which implementation runs, and
    whether it goes over touched rows or over all with a mask, changes speed and nothing else:
    :meth:`explain`.

    A table whose gradient is dense, in ``.grad``, is updated in all rows. A gradient of both kinds
    is refused. Weight decay is decoupled, as AdamW's, and lazy: each step's ``lr * weight_decay``
    reaches a row when it is next read or updated. Until then it counts in look-ups through the
    table, in state_dict (which repeats a run bit by bit) and in nothing else: call
    :meth:`settle_decay` before anything else reads the values.

    A table that is laid over ranks is updated where it is held; its collected look-ups must have
    been averaged (``Lookup.average``). Rounding of bf16 depends on the place within the part.

    Args:
        params: Tables, [slots, width], fp32, fp64 or bf16; or groups, as torch has them.
        row_gradients: Where each table collects; ``archspec.blocks.table.row_gradients(model)``. A
            table that is not in it has dense gradients. A group may bring its own, under
            ``row_gradients``.
        rule: ``adam``, ``rowwise_adam`` (one second moment a row), ``rowwise_adagrad`` or ``sgd``.
        lr: Learning rate; like all below, of groups that have no own.
        betas: Decay of the moments. A first of 0 keeps no first moment.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay.
        seed: Of the stochastic rounding of bf16 tables.

    Example:
        >>> for table in tables:
        ...     table.collect_rows()
        >>> collected = row_gradients(model)
        >>> rows = RowOptimizer(collected, collected, rule="rowwise_adam", lr=1e-2)
        >>> optimizer = JointOptimizer(rows, torch.optim.AdamW(other_parameters, lr=1e-3))
    """

    def __init__(
        self,
        params: ParamsT,
        row_gradients: Mapping[Tensor, RowGradient] | None = None,
        *,
        rule: Rule = "adam",
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        # Before the base class, which adds the groups. They stay out of the groups themselves,
        # because a state_dict holds groups.
        self._row_gradients: dict[Tensor, RowGradient] = {**(row_gradients or {})}
        self._updates: dict[Tensor, RowUpdate] = {}
        defaults = {
            "rule": rule,
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "seed": seed,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tables, and where they collect (``row_gradients``).

        Raises:
            ValueError: A setting is out of range, or a parameter is no table.
        """
        self._row_gradients.update(param_group.pop("row_gradients", {}))
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            check_settings(group)
            for parameter in group["params"]:
                check_table(parameter, self._row_gradients.get(parameter))
        except ValueError:
            self.param_groups.pop()
            raise
        for parameter in group["params"]:
            self._adopt(parameter, group["seed"])

    def explain(self) -> tuple[RowUpdate, ...]:
        """Say for each table how its last step was done; tables without one are left out."""
        return tuple(self._updates[p] for p in self._parameters() if p in self._updates)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the tables that have a gradient; the others do not even decay.

        Args:
            closure: Computes gradients and returns the loss.

        Raises:
            ValueError: A table has a dense gradient and collected look-ups.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for place, (parameter, group) in enumerate(self._members()):
            gradient = self._gradient_of(parameter)
            if gradient is not None:
                self._update(place, parameter, group, *gradient)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients, collected ones too."""
        super().zero_grad(set_to_none)
        for parameter in self._parameters():
            if parameter in self._row_gradients:
                self._row_gradients[parameter].clear()

    @torch.no_grad()
    def settle_decay(self, *, release: bool = False) -> None:
        """Apply all decay that rows owe: before values are read other than through the table.

        Args:
            release: Also stop decaying: ``weight_decay`` becomes 0 in all groups.
        """
        for place, (parameter, group) in enumerate(self._members()):
            if release:
                group["weight_decay"] = 0.0
            decay = self._decay_of(parameter)
            if decay is None:
                continue
            state = self.state[parameter]
            seed = mix_seed(group["seed"], place, int(state["step"]), _SETTLING)
            _settle_all(decay, held(parameter), seed)
            if release:
                for key in DECAY_STATE:
                    del state[key]
                self._link_decay(parameter)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; the run then repeats bit by bit.

        Raises:
            ValueError: The state is of other tables or rules.
        """
        # The base class would cast all state to the dtype of the parameter.
        super().load_state_dict({**state_dict, "state": {}})
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        for index, (parameter, group) in zip(saved, self._members(), strict=True):
            found = state_dict["state"].get(index)
            if found is not None:
                self.state[parameter] = loaded_state(found, parameter, group)
            self._link_decay(parameter)

    def blank_state(self, parameter: Tensor, *, decays: bool) -> dict[str, Tensor]:
        """Return zeros for all that is kept of a table, for :meth:`take_state` once filled.

        Args:
            parameter: The table.
            decays: Whether its rows owe weight decay.
        """
        (group,) = (group for p, group in self._members() if p is parameter)
        state = new_state(parameter, group)
        return {**state, **new_decay(parameter)} if decays else state

    def take_state(self, parameter: Tensor, state: dict[str, Tensor]) -> None:
        """Take over a table's state as it is, without a copy; an empty one is none."""
        if state:
            self.state[parameter] = state
        else:
            self.state.pop(parameter, None)
        self._link_decay(parameter)

    def _members(self) -> Iterable[tuple[Tensor, dict[str, Any]]]:
        return [(p, group) for group in self.param_groups for p in group["params"]]

    def _parameters(self) -> list[Tensor]:
        return [parameter for parameter, _ in self._members()]

    def _gradient_of(self, parameter: Tensor) -> tuple[Lookups, Tensor] | None:
        """Return the gradient and what it is to be multiplied by, or None if there is none."""
        collected = self._row_gradients.get(parameter)
        if collected is None or collected.is_empty:
            if parameter.grad is None:
                return None
            return _every_row(held(parameter.grad)), torch.ones((), device=parameter.device)
        if parameter.grad is not None:
            raise ValueError(
                f"RowOptimizer: a table of {list(parameter.shape)} has a dense gradient and "
                f"{collected.num_lookups} collected look-ups; read it through its Table only, or "
                "end collecting with collect_rows(False)"
            )
        return collected.grouped(), collected.scale

    def _update(
        self,
        place: int,
        parameter: Tensor,
        group: dict[str, Any],
        lookups: Lookups,
        scale: Tensor,
    ) -> None:
        state = self.state[parameter]
        if "step" not in state:
            state.update(new_state(parameter, group))
        state["step"] += 1
        step, table = int(state["step"]), held(parameter.detach())
        self._decay(place, parameter, group, lookups.rows)
        seed = mix_seed(group["seed"], place, step, _ROUNDING)
        arguments = (*lookups, scale.to(state_dtype(parameter)))
        lr, eps, (beta1, beta2) = float(group["lr"]), group["eps"], group["betas"]
        match group["rule"]:
            case "adam" | "rowwise_adam":
                moments = (held(state["exp_avg"]), held(state["exp_avg_sq"]))
                settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
                row_adam_(table, *moments, *arguments, **settings, step=step, seed=seed)
            case "rowwise_adagrad":
                total = held(state["square_sum"])
                row_adagrad_(table, total, *arguments, lr=lr, eps=eps, seed=seed)
            case "sgd":
                row_sgd_(table, *arguments, lr=lr, seed=seed)
        self._updates[parameter] = _explanation(place, table, group["rule"], len(lookups.rows))

    def _decay(self, place: int, parameter: Tensor, group: dict[str, Any], rows: Tensor) -> None:
        """Let all rows owe this step's decay, and the touched ones pay."""
        state, rate = self.state[parameter], float(group["lr"]) * group["weight_decay"]
        if rate and "decay_total" not in state:
            state.update(new_decay(parameter))
            self._link_decay(parameter)
        decay = self._decay_of(parameter)
        if decay is not None:
            if not rate < 1:
                raise ValueError(
                    f"RowOptimizer: lr * weight_decay < 1 must hold, but lr={group['lr']} and "
                    f"weight_decay={group['weight_decay']}; lower one of them"
                )
            decay.advance(rate)
            seed = mix_seed(group["seed"], place, int(state["step"]), _DECAY)
            decay.settle(held(parameter.detach()), rows, seed)

    def _decay_of(self, parameter: Tensor) -> LazyDecay | None:
        state = self.state.get(parameter, {})
        if "decay_total" not in state:
            return None
        return LazyDecay(state["decay_total"], held(state["decay_settled"]))

    def _link_decay(self, parameter: Tensor) -> None:
        """Let look-ups know what rows owe."""
        if parameter in self._row_gradients:
            self._row_gradients[parameter].decay = self._decay_of(parameter)

    @torch.no_grad()
    def _adopt(self, parameter: Tensor, seed: int) -> None:
        """Settle what rows owe to an earlier optimizer, whose state is not ours."""
        collected = self._row_gradients.get(parameter)
        if collected is not None and collected.decay is not None:
            _settle_all(collected.decay, held(parameter), mix_seed(seed, 0, 0, _SETTLING))
            collected.decay = None


def _every_row(grad: Tensor) -> Lookups:
    """Write a dense gradient as one look-up of every row."""
    slots, device = grad.shape[0], grad.device
    return Lookups(
        rows=torch.arange(slots, device=device),
        starts=torch.arange(slots + 1, device=device),
        tokens=torch.arange(slots, dtype=torch.int32, device=device),
        weights=torch.ones(slots, dtype=state_dtype(grad), device=device),
        grads=grad.detach().contiguous(),
    )


def _settle_all(decay: LazyDecay, parameter: Tensor, seed: int) -> None:
    everything = torch.arange(parameter.shape[0], device=parameter.device)
    decay.settle(parameter.detach(), everything, seed)


def _explanation(place: int, table: Tensor, rule: str, distinct: int) -> RowUpdate:
    slots, width = table.shape
    call = dispatch.Call(
        device=table.device.type,
        dtype=table.dtype,
        width=width,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    choice = dispatch.explain(_OPS[rule], call)
    word, path, reason = choice.implementation.word, "rows", choice.reason
    if word == "torch":
        path = stock.choose_path(distinct, slots)
        side = "at least" if path == "blocks" else "less than"
        reason = f"{reason}; {side} {stock.BLOCKS_FROM:.0%} of the rows are touched"
    return RowUpdate(
        table=place,
        shape=(slots, width),
        implementation=word,
        touched=distinct / slots if slots else 0.0,
        path=path,
        reason=reason,
    )
