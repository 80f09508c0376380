"""The gradient of one optimizer step, summed over its micro-batches."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from archspec.blocks.usage import Recorder
from archspec.errors import ArchspecError, suggest
from archspec.spec.train import Losses, TrainSpec
from archspec.train.data.source import Rows
from archspec.train.evaluate import as_context, counted_nll, split_rows


def accumulate_gradient(
    model: nn.Module,
    rows: Rows,
    train: TrainSpec,
    *,
    device: str,
    usage: Recorder | None = None,
) -> tuple[float, dict[str, float]]:
    """Add the gradient of a batch to the parameters' gradients.

    The micro-batches together give the gradient of the whole batch, however its targets are spread
    over them. Auxiliary losses are averaged over micro-batches.

    Returns:
        The mean cross-entropy of the targets, and each auxiliary loss averaged over its blocks,
        without coefficient.

    Raises:
        ArchspecError: A block adds a loss that the document gives no coefficient for.
    """
    targets = int(rows.counted.sum())
    total = torch.zeros((), device=device)
    auxiliary: dict[str, Tensor] = {}
    for part in split_rows(rows, train.micro_tokens):
        context = dataclasses.replace(as_context(part, device), usage=usage)
        loss = counted_nll(model(context.token_ids, context), part)[2].sum() / targets
        total += loss.detach()
        for name, values in context.losses.items():
            mean = torch.stack(values).mean() * (len(part) / len(rows))
            auxiliary.setdefault(name, torch.zeros_like(total)).add_(mean.detach())
            loss = loss + _coefficient(name, train.losses) * len(values) * mean
        loss.backward()
    return total.item(), {name: value.item() for name, value in auxiliary.items()}


def _coefficient(name: str, losses: Losses) -> float:
    known = losses.coefficients()
    if name not in known:
        raise ArchspecError(
            f"a block adds the loss {name!r}, but the train document's `losses` has no coefficient "
            f"for it; {suggest(name, known)}"
        )
    return known[name]
