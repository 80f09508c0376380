"""Both gradients of the weighted sum, beside the stock ways to them.

The gradient of the table is dense: that is what the stock ways make. What our optimizer takes
instead is measured as part of the step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from archspec.bench.bag import BagInputs, BagSize
from archspec.bench.contest import OURS, TOLERANCES, Contest, Entrant, Task, Way
from archspec.bench.forward import Bag, gather_einsum, stock_bag
from archspec.bench.traffic import backward_traffic
from archspec.kernels.embedding_bag import embedding_bag


def backward_task(size: BagSize, varied: str, device: torch.device) -> Task:
    """Declare the backward at one size."""
    return Task(
        case="backward",
        varied=varied,
        size=size.as_dict(),
        needs=size.input_bytes(device) + size.table_bytes(device) + _dense_bytes(size),
        draw=functools.partial(_draw, size, device),
    )


def _draw(size: BagSize, device: torch.device) -> Contest:
    inputs = BagInputs(size, device)
    gathered = size.lookups * size.width * size.element
    bags: dict[str, tuple[Bag, int]] = {
        OURS: (embedding_bag, 0),
        "F.embedding_bag": (stock_bag, _dense_bytes(size)),
        "gather + einsum": (gather_einsum, _dense_bytes(size) + 3 * gathered),
    }
    return Contest(
        entrants=tuple(
            Entrant(name=name, enter=functools.partial(_way, inputs, bag), needs=needs)
            for name, (bag, needs) in bags.items()
        ),
        traffic=backward_traffic(
            tokens=size.tokens,
            picks=size.picks,
            width=size.width,
            element=size.element,
            distinct=inputs.distinct,
            written=size.slots,
        ),
        tolerance=TOLERANCES[size.torch_dtype],
    )


def _dense_bytes(size: BagSize) -> int:
    return size.slots * size.width * size.element


def _way(inputs: BagInputs, bag: Bag) -> Way:
    table = inputs.rows.table.detach().requires_grad_()

    def prepare(turn: int) -> tuple[Tensor, Tensor, Tensor]:
        batch = inputs.batch(turn)
        weights = batch.weights.detach().requires_grad_()
        return bag(batch.indices, weights, table), weights, batch.grads

    def run(state: tuple[Tensor, Tensor, Tensor]) -> Sequence[Tensor]:
        result, weights, grads = state
        return torch.autograd.grad(result, (weights, table), grads)

    def outputs(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        by_weights, by_table = gradients
        norm = torch.linalg.vector_norm(by_table, dtype=torch.float64)
        return by_weights, by_table[inputs.batch(0).rows], norm

    return Way(prepare=prepare, run=run, outputs=outputs)
