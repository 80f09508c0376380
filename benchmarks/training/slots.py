"""A whole small model from 64k to 16M slots, beside the same model with stock ops on its table.

Only the table differs: there three ``torch.topk`` select, ``F.embedding_bag`` sums, and AdamW
updates every row, or SparseAdam those that were read. Projections, attention and head are ours on
both sides. Each stock way meets ours in rounds of its own, so that two tables and their moments fit
into memory, and not three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from archspec.bench.contest import OURS, Entrant
from archspec.bench.forward import stock_bag
from archspec.bench.results import size_text
from archspec.bench.selection import stock_pipeline
from archspec.blocks.memory.module import MemoryBlock
from archspec.blocks.table import LocalLookup, Rows, Table, row_gradients
from archspec.compiler.compile import compile
from archspec.kernels.row_optimizer.joint import JointOptimizer
from archspec.kernels.row_optimizer.optimizer import RowOptimizer
from archspec.model.transformer import Transformer
from benchmarks.training.steps import LEARNING_RATE, adamw, batches, model_spec, our_loss, step_way
from benchmarks.training.tasks import Task

DENSE, SPARSE = "dense gradient, AdamW", "SparseAdam"
STOCK = (DENSE, SPARSE)
TOLERANCES = (1e-5, 1e-3)
VOCAB_SIZE = 2048


@dataclass(frozen=True, kw_only=True)
class SlotsSize:
    """The keys of one memory layer in a model of four, and the batch."""

    num_keys: int
    value_dim: int = 32
    d_model: int = 128
    num_heads: int = 4
    top_k: int = 16
    rows: int = 8
    seq_len: int = 128

    @property
    def slots(self) -> int:
        """Rows of the table."""
        return self.num_keys**2


SIZES = tuple(SlotsSize(num_keys=256 << doublings) for doublings in range(5))
QUICK = tuple(SlotsSize(num_keys=n, d_model=32, top_k=4, rows=2, seq_len=16) for n in (16, 32))


def tasks(threads: tuple[int, ...], *, quick: bool) -> Iterator[Task]:
    """Declare all sizes, each against both stock ways, on as many threads as there are."""
    for size in QUICK if quick else SIZES:
        for stock in STOCK:
            yield Task(
                case="slots",
                label=f"{size_text('slots', size.slots)} slots",
                size={**asdict(size), "slots": size.slots, "tokens": size.rows * size.seq_len},
                dtype="float32",
                threads=max(threads),
                draw=partial(_draw, size, stock),
                tolerances=TOLERANCES,
            )


def _draw(size: SlotsSize, stock: str) -> tuple[Entrant, ...]:
    inputs = batches(VOCAB_SIZE, rows=size.rows, seq_len=size.seq_len, count=16)
    table = 4 * size.slots * size.value_dim

    def enter(name: str):
        model = compile(model_spec(_document(size)))
        if name == OURS:
            return step_way(our_loss(model), _our_optimizer(model), inputs)
        _use_stock(model, sparse=name == SPARSE)
        return step_way(our_loss(model), _stock_optimizer(model, name), inputs)

    return (
        Entrant(name=OURS, enter=partial(enter, OURS), needs=3 * table),
        Entrant(name=stock, enter=partial(enter, stock), needs=4 * table),
    )


def _document(size: SlotsSize) -> dict[str, object]:
    return {
        "name": "slots",
        "vocab_size": VOCAB_SIZE,
        "max_seq_len": size.seq_len,
        "d_model": size.d_model,
        "attention": {"num_heads": size.num_heads},
        "blocks": {
            "ffn": {"type": "dense", "hidden_dim": 3 * size.d_model},
            "memory": {
                "type": "memory",
                "num_keys": size.num_keys,
                "value_dim": size.value_dim,
                "num_heads": size.num_heads,
                "top_k": size.top_k,
                "key_dim": 64,
            },
        },
        "layers": {"num_layers": 4, "default": "ffn", "place": {"memory": [2]}},
    }


class StockLookup(LocalLookup):
    """Look-ups by ``F.embedding_bag``."""

    def __init__(self, *, sparse: bool) -> None:
        self._sparse = sparse

    def sum_rows(self, slots: Tensor, weights: Tensor, rows: Rows) -> Tensor:
        """See :class:`archspec.blocks.table.Lookup`."""
        return stock_bag(slots, weights, rows.parameter, sparse=self._sparse)


def _use_stock(model: Transformer, *, sparse: bool) -> None:
    (memory,) = (module for module in model.modules() if isinstance(module, MemoryBlock))
    memory.values.lookup = StockLookup(sparse=sparse)

    def select(tokens: Tensor) -> tuple[Tensor, Tensor]:
        queries = memory.query(tokens).view(len(tokens), memory.codebooks.shape[1], 2, -1)
        return stock_pipeline(queries, memory.codebooks, memory.config.top_k)

    memory.select = select


def _our_optimizer(model: Transformer) -> torch.optim.Optimizer:
    for module in model.modules():
        if isinstance(module, Table):
            module.collect_rows()
    gradients = row_gradients(model)
    rows = RowOptimizer(list(gradients), gradients, rule="adam", lr=LEARNING_RATE)
    return JointOptimizer(rows, _adamw_without(model, set(gradients)))


def _stock_optimizer(model: Transformer, name: str) -> torch.optim.Optimizer:
    if name == DENSE:
        return adamw(model)
    tables = {
        p for module in model.modules() if isinstance(module, Table) for p in module.parameters()
    }
    return _Both(
        torch.optim.SparseAdam(list(tables), lr=LEARNING_RATE), _adamw_without(model, tables)
    )


def _adamw_without(model: Transformer, tables: set[torch.nn.Parameter]) -> torch.optim.Optimizer:
    rest = [parameter for parameter in model.parameters() if parameter not in tables]
    return torch.optim.AdamW(rest, lr=LEARNING_RATE, weight_decay=0.0, fused=True)


class _Both:
    """Two optimizers, one after the other."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self._parts = parts

    def step(self) -> None:
        for part in self._parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad()
