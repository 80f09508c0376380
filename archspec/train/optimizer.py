"""AdamW for what every token uses; for value tables, updates of the rows that were looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from archspec.errors import RunError
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer.joint import JointOptimizer
from archspec.kernels.row_optimizer.optimizer import RowOptimizer
from archspec.spec.plan import Precision
from archspec.spec.train import Optimizer

NO_TABLES: Mapping[nn.Parameter, RowGradient] = MappingProxyType({})
TABLES = "tables"  # the group that has a schedule of its own


def build_optimizer(
    model: nn.Module,
    settings: Optimizer,
    rows: Mapping[nn.Parameter, RowGradient] = NO_TABLES,
    *,
    seed: int = 0,
) -> torch.optim.Optimizer:
    """Build AdamW, joined by a row optimizer where there are tables.

    AdamW is the fused one: several times faster on large matrices, on CPU too.

    Args:
        model: Its parameters; those without a gradient, as a routing bias, are in no group.
        settings: Rates, decay, moments.
        rows: The tables, and where their gradients are; see ``TableGradients``.
        seed: Of the rounding of bf16 tables.

    Raises:
        RunError: The rule cannot train the tables as they are laid out.
    """
    others = [p for p in model.parameters() if p.requires_grad and p not in rows]
    rest = torch.optim.AdamW(
        _rest_groups(others, settings),
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )
    if not rows:
        return rest
    _check_layout(model, settings, rows)
    return JointOptimizer(_row_optimizer(settings, rows, seed), rest)


def check_rounding(precision: Precision) -> None:
    """Refuse rows of bf16 whose small updates would vanish. Raises RunError."""
    if precision.tables == "bfloat16" and precision.table_rounding == "nearest":
        raise RunError(
            "precision: rows of tables: bfloat16 are trained with table_rounding: stochastic, but "
            "table_rounding is nearest, which loses updates smaller than a rounding step; set "
            "table_rounding: stochastic or tables: float32"
        )


def set_lr_share(optimizer: torch.optim.Optimizer, share: float, tables: float) -> None:
    """Set every group's learning rate to a share of its peak; tables have a share of their own."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * (tables if group["name"] == TABLES else share)


def settle_decay(optimizer: torch.optim.Optimizer) -> None:
    """Apply the decay that rows of tables still owe, before their values are read as they are."""
    if isinstance(optimizer, JointOptimizer):
        optimizer.rows.settle_decay()


def _rest_groups(parameters: Iterable[nn.Parameter], settings: Optimizer) -> list[dict[str, Any]]:
    """Sort parameters: matrices decay, vectors (norms, biases) do not."""
    everything = list(parameters)
    matrices = [parameter for parameter in everything if parameter.dim() > 1]
    vectors = [parameter for parameter in everything if parameter.dim() <= 1]
    groups = [
        _group("matrices", matrices, settings.lr, settings.weight_decay),
        _group("vectors", vectors, settings.lr, 0.0),
    ]
    return [group for group in groups if group["params"]]


def _row_optimizer(
    settings: Optimizer, rows: Mapping[nn.Parameter, RowGradient], seed: int
) -> RowOptimizer:
    own = settings.tables
    beta1 = settings.beta1 if own.beta1 is None else own.beta1
    beta2 = settings.beta2 if own.beta2 is None else own.beta2
    carriers: dict[Tensor, RowGradient] = {}
    carriers.update((parameter, gradient) for parameter, gradient in rows.items())
    group = _group(TABLES, list(rows), settings.lr * own.lr_multiplier, own.weight_decay)
    try:
        return RowOptimizer(
            [group], carriers, rule=own.rule, betas=(beta1, beta2), eps=settings.eps, seed=seed
        )
    except ValueError as error:  # a dtype that no rule trains
        raise RunError(f"the tables cannot be trained: {error}") from None


def _check_layout(
    model: nn.Module, settings: Optimizer, rows: Mapping[nn.Parameter, RowGradient]
) -> None:
    """Refuse rules with one number a row where rows are cut."""
    own = settings.tables
    asked = [f"rule={own.rule}"] if own.rule.startswith("rowwise") else []
    asked += [f"weight_decay={own.weight_decay:g}"] if own.weight_decay else []
    if not asked:
        return
    for name, parameter in model.named_parameters():
        if parameter in rows and rows[parameter].width != parameter.shape[1]:
            raise RunError(
                f"optimizer.tables: {' and '.join(asked)} needs whole rows, but {name} is cut into "
                f"columns: a rank holds {rows[parameter].width} of {parameter.shape[1]}; set "
                "shard: rows in the plan, or use rule: adam or sgd with weight_decay: 0"
            )


def _group(
    name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float
) -> dict[str, Any]:
    return {
        "name": name,
        "params": parameters,
        "lr": lr,
        "peak_lr": lr,
        "weight_decay": weight_decay,
    }
