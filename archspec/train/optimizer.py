"""AdamW with the rows of value tables in a group of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from archspec.blocks.table import Table
from archspec.spec.train import Optimizer


def parameter_groups(model: nn.Module, settings: Optimizer) -> list[dict[str, Any]]:
    """Sort parameters: matrices decay, vectors (norms, biases) do not, tables have own settings.

    What has no gradient, as a routing bias, is in no group.

    Returns:
        Groups as torch wants them; ``lr`` is the peak and ``peak_lr`` remembers it.
    """
    tables = {
        parameter: None
        for module in model.modules()
        if isinstance(module, Table)
        for parameter in module.parameters(recurse=False)
    }  # a dict, as sets have no order
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    others = [parameter for parameter in learned if parameter not in tables]
    table_lr = settings.lr * settings.tables.lr_multiplier
    groups = [
        _group("matrices", [p for p in others if p.dim() > 1], settings.lr, settings.weight_decay),
        _group("vectors", [p for p in others if p.dim() <= 1], settings.lr, 0.0),
        _group("tables", list(tables), table_lr, settings.tables.weight_decay),
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Build AdamW; its fused form is several times faster on large tables, on CPU too."""
    return torch.optim.AdamW(
        parameter_groups(model, settings),
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


def set_lr_share(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share


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
