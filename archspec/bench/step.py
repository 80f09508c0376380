"""Forward, backward and Adam of a table, as one training step; and the update alone.

Adam without weight decay, from zero moments, so that after one step the dense and the touched-row
optimizers must have moved the same rows by the same amounts.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from archspec.bench.bag import BagBatch, BagInputs, BagSize, TableRows
from archspec.bench.contest import OURS, Contest, Entrant, Task, Way
from archspec.bench.forward import stock_bag
from archspec.bench.inputs import lazy_bytes, lazy_zeros
from archspec.bench.traffic import backward_traffic, forward_traffic, update_traffic
from archspec.kernels.collected_bag import collected_bag
from archspec.kernels.row_gradient import RowGradient
from archspec.kernels.row_optimizer.optimizer import RowOptimizer

LEARNING_RATE = 1e-2
# SparseAdam adds it before the bias correction, the others after; as small as this, it is the same.
_EPS = 1e-15
# Of what rows moved by. Adam's first step is the gradient over its own size, so where the gradient
# nearly vanishes, its rounding shows.
_TOLERANCE = 1e-3

Optimize = Callable[[nn.Parameter], torch.optim.Optimizer]


def step_task(size: BagSize, varied: str, device: torch.device) -> Task:
    """Declare the whole step at one size; tables are fp32."""
    return _task("step", size, varied, device)


def update_task(size: BagSize, varied: str, device: torch.device) -> Task:
    """Declare the optimizer's part of the step: from look-ups and gradients to new rows."""
    return _task("update", size, varied, device)


class Trainer(ABC):
    """A table in training.

    Args:
        rows: What the table holds.
    """

    def __init__(self, rows: TableRows) -> None:
        self.rows = rows
        self.table = nn.Parameter(rows.new_table())

    @property
    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """What updates the table."""

    @abstractmethod
    def bag(self, indices: Tensor, weights: Tensor) -> Tensor:
        """Look up, so that backward leaves the gradient where the optimizer finds it."""

    def differentiate(self, batch: BagBatch) -> Sequence[Tensor]:
        """Run forward and backward; return the result and the gradient of the weights."""
        self.optimizer.zero_grad()
        weights = batch.weights.detach().requires_grad_()
        result = self.bag(batch.indices, weights)
        result.backward(batch.grads)
        assert weights.grad is not None, "backward reaches the weights"
        return result.detach(), weights.grad

    def step(self, batch: BagBatch) -> Sequence[Tensor]:
        """Run the whole step; return what :meth:`differentiate` does."""
        found = self.differentiate(batch)
        self.optimizer.step()
        return found

    def moved(self) -> Tensor:
        """Return how far rows moved from their first values, [touched, width]."""
        return self.table.detach()[self.rows.touched] - self.rows.values


class OurTrainer(Trainer):
    """Collected look-ups and the optimizer that reads them."""

    def __init__(self, rows: TableRows) -> None:
        super().__init__(rows)
        slots, width = self.table.shape
        self.gradient = RowGradient(slots=slots, width=width)
        self._optimizer = RowOptimizer(
            [self.table], {self.table: self.gradient}, rule="adam", lr=LEARNING_RATE, eps=_EPS
        )
        _give_moments(self._optimizer, self.table, torch.zeros((), dtype=torch.int64))

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What updates the table."""
        return self._optimizer

    def bag(self, indices: Tensor, weights: Tensor) -> Tensor:
        """Look up; backward appends to the gradient."""
        return collected_bag(indices, weights, self.table, self.gradient)


class StockTrainer(Trainer):
    """``F.embedding_bag`` with a stock optimizer.

    Args:
        rows: What the table holds.
        optimize: Makes the optimizer.
        sparse: Whether the gradient is a sparse tensor.
    """

    def __init__(self, rows: TableRows, optimize: Optimize, *, sparse: bool) -> None:
        super().__init__(rows)
        self._optimizer = optimize(self.table)
        self._sparse = sparse
        if sparse:
            _give_moments(self._optimizer, self.table, 0)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What updates the table."""
        return self._optimizer

    def bag(self, indices: Tensor, weights: Tensor) -> Tensor:
        """Look up; backward fills ``.grad``."""
        return stock_bag(indices, weights, self.table, sparse=self._sparse)


def fused_adamw(table: nn.Parameter) -> torch.optim.Optimizer:
    """Return the fastest dense Adam there is."""
    return torch.optim.AdamW([table], lr=LEARNING_RATE, eps=_EPS, weight_decay=0, fused=True)


def foreach_adamw(table: nn.Parameter) -> torch.optim.Optimizer:
    """Return the dense Adam that torch chooses by itself on CUDA."""
    return torch.optim.AdamW([table], lr=LEARNING_RATE, eps=_EPS, weight_decay=0, foreach=True)


def sparse_adam(table: nn.Parameter) -> torch.optim.Optimizer:
    """Return torch's Adam on touched rows, which keeps moments of the whole table."""
    return torch.optim.SparseAdam([table], lr=LEARNING_RATE, eps=_EPS)


def trainers(rows: TableRows, *, sparse_bytes: int) -> dict[str, tuple[Callable[[], Trainer], int]]:
    """Return who trains a table, and the bytes that each keeps or holds.

    Args:
        rows: Of the table.
        sparse_bytes: Of one row for every look-up, which a sparse gradient consists of.
    """
    touched, width = rows.values.shape
    dense = rows.slots * rows.values[0].nbytes
    lazy = lazy_bytes(rows.values.device, rows.slots, width, rows.values.itemsize, touched)
    makers: dict[str, tuple[Callable[[], Trainer], int]] = {
        OURS: (lambda: OurTrainer(rows), 3 * lazy),
        "fused AdamW": (lambda: StockTrainer(rows, fused_adamw, sparse=False), 4 * dense),
        "SparseAdam": (
            lambda: StockTrainer(rows, sparse_adam, sparse=True),
            3 * lazy + 4 * sparse_bytes,
        ),
        # It holds temporary tensors of the table's size, too.
        "foreach AdamW": (lambda: StockTrainer(rows, foreach_adamw, sparse=False), 7 * dense),
    }
    return makers


def _task(case: str, size: BagSize, varied: str, device: torch.device) -> Task:
    return Task(
        case=case,
        varied=varied,
        size=size.as_dict(),
        needs=size.input_bytes(device) + 3 * size.table_bytes(device) + _gathered_bytes(size),
        draw=functools.partial(_draw, case, size, device),
    )


def _draw(case: str, size: BagSize, device: torch.device) -> Contest:
    assert size.dtype == "float32", "stock optimizers keep moments in the table's dtype"
    inputs = BagInputs(size, device)
    way = _step_way if case == "step" else _update_way
    entrants = trainers(inputs.rows, sparse_bytes=_gathered_bytes(size))
    return Contest(
        entrants=tuple(
            Entrant(name=name, enter=functools.partial(way, inputs, make), needs=needs)
            for name, (make, needs) in entrants.items()
        ),
        traffic=_traffic(case, inputs),
        tolerance=_TOLERANCE,
    )


def _step_way(inputs: BagInputs, make: Callable[[], Trainer]) -> Way:
    trainer = make()
    return Way(
        prepare=inputs.batch,
        run=trainer.step,
        outputs=lambda found: (*found, trainer.moved()),
    )


def _update_way(inputs: BagInputs, make: Callable[[], Trainer]) -> Way:
    trainer = make()
    return Way(
        prepare=lambda turn: trainer.differentiate(inputs.batch(turn)),
        run=lambda _: trainer.optimizer.step(),
        outputs=lambda _: (trainer.moved(),),
    )


def _give_moments(
    optimizer: torch.optim.Optimizer, table: nn.Parameter, step: Tensor | int
) -> None:
    """Set the first state, in pages that take memory once a row is touched."""
    slots, width = table.shape
    for name in ("exp_avg", "exp_avg_sq"):
        optimizer.state[table][name] = lazy_zeros(slots, width, torch.float32, table.device)
    optimizer.state[table]["step"] = step


def _traffic(case: str, inputs: BagInputs) -> dict[str, int]:
    size = inputs.size
    bag = {"tokens": size.tokens, "picks": size.picks, "width": size.width}
    backward = backward_traffic(**bag, element=size.element, distinct=inputs.distinct, written=0)
    update = update_traffic(width=size.width, element=size.element, distinct=inputs.distinct)
    if case == "update":
        read = ("gradient of tokens", "indices and weights")
        return {**update, **{reason: backward[reason] for reason in read}}
    forward = forward_traffic(**bag, element=size.element)
    return {
        **{f"forward: {reason}": count for reason, count in forward.items()},
        **{f"backward: {reason}": count for reason, count in backward.items() if count},
        **update,
    }


def _gathered_bytes(size: BagSize) -> int:
    return size.lookups * size.width * size.element
