"""A memory layer's whole step over its table: select, look up, differentiate, update.

What surrounds it in a model (projections, the optimizer of codebooks) is the same for everybody and
left out. Scoring grows with the square root of the slots; nothing else should grow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from archspec.bench.bag import TableRows
from archspec.bench.contest import OURS, Contest, Entrant, Task, Way
from archspec.bench.inputs import draw_normal, lazy_bytes
from archspec.bench.selection import Selected, SelectionInputs, SelectionSize, stock_pipeline
from archspec.bench.step import Trainer, trainers
from archspec.bench.traffic import (
    backward_traffic,
    forward_traffic,
    selection_traffic,
    update_traffic,
)
from archspec.kernels.product_key_topk import product_key_topk

# Of results and of how far rows moved. Selection may round a pair of near-equal slots either way.
_TOLERANCE = 1e-2
_SETS = 4

Select = Callable[[Tensor, Tensor, int], Selected]


@dataclass(frozen=True, kw_only=True)
class LayerSize(SelectionSize):
    """A selection and the width of the table it reads.

    Args:
        width: Elements of a row.
    """

    width: int

    @property
    def slots(self) -> int:
        """Rows of the table."""
        return self.num_keys**2

    @property
    def lookups(self) -> int:
        """Look-ups of all tokens."""
        return self.tokens * self.heads * self.top_k


class LayerInputs:
    """Codebooks, queries in turn, gradients of the result, and the rows that are read.

    Attributes:
        selection: Codebooks and queries.
        grads: [tokens, width], of the result.
        rows: Of the table.
        distinct: Rows that one batch reads.
    """

    def __init__(self, size: LayerSize, device: torch.device) -> None:
        generator = torch.Generator(device=device)
        generator.manual_seed(0)
        self.selection = SelectionInputs(size, device)
        self.grads = draw_normal((size.tokens, size.width), size.torch_dtype, generator)
        read = [
            product_key_topk(queries, self.selection.codebooks, size.top_k)[1].unique()
            for queries in self.selection.queries
        ]
        touched = torch.cat(read).unique().long()
        values = draw_normal((len(touched), size.width), size.torch_dtype, generator)
        self.rows = TableRows(size.slots, touched, values)
        self.distinct = len(read[0])


def layer_task(size: LayerSize, varied: str, device: torch.device) -> Task:
    """Declare the step of a layer at one size."""
    row = size.width * size.torch_dtype.itemsize
    touched = _SETS * size.lookups
    table = lazy_bytes(device, size.slots, size.width, size.torch_dtype.itemsize, touched)
    return Task(
        case="layer",
        varied=varied,
        size=asdict(size),
        needs=3 * table + 2 * touched * row,
        draw=functools.partial(_draw, size, device),
    )


def _draw(size: LayerSize, device: torch.device) -> Contest:
    inputs = LayerInputs(size, device)
    gathered = size.lookups * size.width * size.torch_dtype.itemsize
    entrants = trainers(inputs.rows, sparse_bytes=gathered)
    return Contest(
        entrants=tuple(
            Entrant(
                name=name if name == OURS else f"topk + {name}",
                enter=functools.partial(
                    _way, inputs, product_key_topk if name == OURS else stock_pipeline, make
                ),
                needs=needs,
            )
            for name, (make, needs) in entrants.items()
        ),
        traffic=_traffic(size, inputs.distinct),
        tolerance=_TOLERANCE,
        flops=3 * 2 * 2 * size.tokens * size.heads * size.num_keys * size.half_dim,
    )


def _way(inputs: LayerInputs, select: Select, make: Callable[[], Trainer]) -> Way:
    trainer = make()
    size, codebooks = inputs.selection.size, inputs.selection.codebooks

    def prepare(turn: int) -> tuple[Tensor, Tensor]:
        queries = inputs.selection.turn(turn)
        return queries.detach().requires_grad_(), codebooks.detach().requires_grad_()

    def run(leaves: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        queries, codebooks = leaves
        trainer.optimizer.zero_grad()
        scores, slots = select(queries, codebooks, size.top_k)
        weights = scores.softmax(-1)  # [tokens, heads, top_k]
        result = trainer.bag(slots.flatten(1), weights.flatten(1))
        result.backward(inputs.grads)
        trainer.optimizer.step()
        assert queries.grad is not None, "backward reaches the queries"
        assert codebooks.grad is not None, "backward reaches the codebooks"
        return result.detach(), queries.grad, codebooks.grad

    return Way(
        prepare=prepare,
        run=run,
        outputs=lambda found: (*found, trainer.moved()),
    )


def _traffic(size: LayerSize, distinct: int) -> dict[str, int]:
    """Add up the parts; both gradients of scoring read and write what scoring read."""
    element = size.torch_dtype.itemsize
    bag = {
        "tokens": size.tokens,
        "picks": size.heads * size.top_k,
        "width": size.width,
        "element": element,
    }
    selection = selection_traffic(
        tokens=size.tokens,
        heads=size.heads,
        num_keys=size.num_keys,
        half_dim=size.half_dim,
        top_k=size.top_k,
        element=element,
    )
    backward = backward_traffic(**bag, distinct=distinct, written=0)
    return {
        "selection": 3 * sum(selection.values()),
        "forward": sum(forward_traffic(**bag).values()),
        "backward": sum(backward.values()),
        **update_traffic(width=size.width, element=element, distinct=distinct),
    }
