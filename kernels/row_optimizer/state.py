"""What a row optimizer keeps for a table, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from archspec.kernels.row_gradient import RowGradient

Rule = Literal["adam", "rowwise_adam", "rowwise_adagrad", "sgd"]
DECAY_STATE = ("decay_total", "decay_settled")  # of tables that decay; see ``decay.py``


def check_settings(group: Mapping[str, Any]) -> None:
    """Refuse settings of a group that are out of range, by ValueError."""
    rules = get_args(Rule)
    if group["rule"] not in rules:
        raise ValueError(f"RowOptimizer: rule is one of {', '.join(rules)}, not {group['rule']!r}")
    beta1, beta2 = group["betas"]
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(f"RowOptimizer: betas lie in [0, 1), but they are {group['betas']}")
    for name in ("lr", "eps", "weight_decay"):
        if not group[name] >= 0:
            raise ValueError(f"RowOptimizer: {name} >= 0 must hold, but {name}={group[name]}")


def check_table(parameter: Tensor, gradient: RowGradient | None) -> None:
    """Refuse a parameter that is no table, or cannot collect there, by ValueError."""
    if parameter.dim() != 2 or not held(parameter).is_contiguous():
        raise ValueError(
            "RowOptimizer: a table is [slots, width] and contiguous, but a parameter is "
            f"{list(parameter.shape)} with strides {list(parameter.stride())}; give it to another "
            "optimizer"
        )
    if parameter.dtype not in (torch.float32, torch.float64, torch.bfloat16):
        raise ValueError(
            "RowOptimizer: a table is fp32, fp64 or bf16 (rounded stochastically), not "
            f"{parameter.dtype}, in which small updates vanish"
        )
    if gradient is not None and (gradient.slots, gradient.width) != tuple(held(parameter).shape):
        raise ValueError(
            f"RowOptimizer: a table of {list(parameter.shape)} cannot collect in {gradient}; "
            "make one of its shape"
        )


def held(tensor: Tensor) -> Tensor:
    """Return what this process holds of a table or its state; all of it, unless it is laid out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def laid_like(state: Tensor, parameter: Tensor) -> Tensor:
    """Lay what this process keeps for its part of a table over the table's mesh.

    Raises:
        ValueError: One number a row is to be kept of rows that are cut.
    """
    if not isinstance(parameter, DTensor):
        return state
    placements = list(parameter.placements)
    if state.dim() == 1:
        for axis, placement in enumerate(placements):
            if placement.is_shard(1) and parameter.device_mesh.size(axis) > 1:
                raise ValueError(
                    "RowOptimizer: row-wise rules and decay need whole rows, but a table of "
                    f"{list(parameter.shape)} is cut into columns over "
                    f"{parameter.device_mesh.size(axis)} ranks; use the rule adam or sgd without "
                    "decay, or shard the table by rows"
                )
        placements = [Replicate() if p.is_shard(1) else p for p in placements]
    shape = parameter.shape[: state.dim()]
    return DTensor.from_local(
        state,
        parameter.device_mesh,
        placements,
        run_check=False,
        shape=shape,
        stride=(1,) if state.dim() == 1 else (shape[1], 1),
    )


def state_dtype(parameter: Tensor) -> torch.dtype:
    """Return fp64 for an fp64 table, else fp32."""
    return torch.promote_types(parameter.dtype, torch.float32)


def new_state(parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what a rule keeps, all zero; ``step`` stays on the CPU, where it is read."""
    slots, width = held(parameter).shape
    dtype, device = state_dtype(parameter), parameter.device

    def zeros(*shape: int) -> Tensor:
        return laid_like(torch.zeros(shape, dtype=dtype, device=device), parameter)

    state = {"step": torch.zeros((), dtype=torch.int64)}
    match group["rule"]:
        case "adam" | "rowwise_adam":
            none = torch.zeros(0, width, dtype=dtype, device=device)
            state["exp_avg"] = none if group["betas"][0] == 0 else zeros(slots, width)
            whole = group["rule"] == "adam"
            state["exp_avg_sq"] = zeros(slots, width) if whole else zeros(slots)
        case "rowwise_adagrad":
            state["square_sum"] = zeros(slots)
    return state


def new_decay(parameter: Tensor) -> dict[str, Tensor]:
    """Return what rows owe that have missed no decay."""
    slots, device = held(parameter).shape[0], parameter.device
    settled = torch.zeros(slots, dtype=torch.float64, device=device)
    total = torch.zeros((), dtype=torch.float64, device=device)
    return {"decay_total": total, "decay_settled": laid_like(settled, parameter)}


def loaded_state(
    held: Mapping[str, Tensor], parameter: Tensor, group: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Copy a state, which must have what a new one has, and may have decay; else ValueError."""
    state = new_state(parameter, group)
    decay = {key: held[key] for key in DECAY_STATE if key in held}
    if held.keys() - decay.keys() != state.keys():
        raise ValueError(
            f"RowOptimizer: the state of a table holds {', '.join(sorted(held))}, but the rule "
            f"{group['rule']} keeps {', '.join(sorted(state))}; load a state of the same rules"
        )
    for key, value in state.items():
        if held[key].shape != value.shape:
            raise ValueError(
                f"RowOptimizer: {key} is {list(held[key].shape)} in the state and "
                f"{list(value.shape)} here; load a state of the same tables"
            )
        value.copy_(held[key])
    return {**state, **{key: v.to(parameter.device, copy=True) for key, v in decay.items()}}
