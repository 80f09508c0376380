"""The weighted sum of table rows, beside the stock ways to it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.bench.bag import BagBatch, BagInputs, BagSize
from archspec.bench.contest import OURS, TOLERANCES, Contest, Entrant, Task, Way
from archspec.bench.traffic import forward_traffic
from archspec.kernels.embedding_bag import embedding_bag

Bag = Callable[[Tensor, Tensor, Tensor], Tensor]


def forward_task(size: BagSize, varied: str, device: torch.device) -> Task:
    """Declare the forward at one size."""
    return Task(
        case="forward",
        varied=varied,
        size=size.as_dict(),
        needs=size.input_bytes(device) + size.table_bytes(device),
        draw=functools.partial(_draw, size, device),
    )


def stock_bag(indices: Tensor, weights: Tensor, table: Tensor, *, sparse: bool = False) -> Tensor:
    """Sum bags with ``F.embedding_bag``."""
    return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum", sparse=sparse)


def gather_einsum(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Gather all rows, then contract them with the weights."""
    return torch.einsum("tp,tpv->tv", weights, table[indices])


def sparse_csr(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Multiply the sparse matrix of weights, [tokens, slots], with the table."""
    tokens, picks = indices.shape
    starts = torch.arange(
        0, tokens * picks + 1, picks, dtype=indices.dtype, device=indices.device
    )  # [tokens + 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR is in beta
        matrix = torch.sparse_csr_tensor(
            starts,
            indices.flatten(),
            weights.flatten(),
            size=(tokens, table.shape[0]),
            check_invariants=False,
        )
    return matrix @ table


def _draw(size: BagSize, device: torch.device) -> Contest:
    inputs = BagInputs(size, device)
    gathered = size.lookups * size.width * size.element
    bags: dict[str, tuple[Bag, int]] = {
        OURS: (embedding_bag, 0),
        "F.embedding_bag": (stock_bag, 0),
        "gather + einsum": (gather_einsum, 2 * gathered),
        "sparse CSR": (sparse_csr, 0),
    }
    return Contest(
        entrants=tuple(
            Entrant(
                name=name,
                enter=functools.partial(_way, inputs, bag),
                needs=needs,
                refusal=_csr_refusal(size) if bag is sparse_csr else None,
            )
            for name, (bag, needs) in bags.items()
        ),
        traffic=forward_traffic(
            tokens=size.tokens, picks=size.picks, width=size.width, element=size.element
        ),
        tolerance=TOLERANCES[size.torch_dtype],
    )


def _csr_refusal(size: BagSize) -> str | None:
    elements = size.slots * size.width
    if elements < 1 << 31:
        return None
    return f"its library crashes on tables of 2^31 elements and more, and this has {elements:,}"


def _way(inputs: BagInputs, bag: Bag) -> Way:
    def run(batch: BagBatch) -> Tensor:
        with torch.no_grad():
            return bag(batch.indices, batch.weights, inputs.rows.table)

    return Way(prepare=inputs.batch, run=run, outputs=lambda result: (result,))
