"""A memory layer beside the package ``product-key-memory``, on the same weights.

The package's layer norm of the queries is taken out: ours has none there (its qk-norm is another),
and it leaves the package less to do. Both keep values as wide as the model, and no bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from archspec.bench.contest import OURS, Entrant, Way
from archspec.blocks.base import ModelScope
from archspec.blocks.memory.config import MemoryConfig
from archspec.blocks.memory.module import MemoryBlock
from archspec.blocks.module import BuildContext, ForwardContext
from archspec.blocks.table import row_gradients
from archspec.kernels.row_optimizer.joint import JointOptimizer
from archspec.kernels.row_optimizer.optimizer import RowOptimizer
from benchmarks.training.tasks import Task

DENSE, SPARSE = "package", "package, SparseAdam"
LEARNING_RATE = 1e-3
# Of results, and of those after an update, where the rounding of a nearly vanishing gradient shows.
TOLERANCES = (1e-4, 1e-2)
_SETS = 4


@dataclass(frozen=True, kw_only=True)
class MemorySize:
    """A layer and its batch."""

    d_model: int
    num_keys: int
    num_heads: int
    top_k: int
    half_dim: int
    tokens: int


SIZES = tuple(
    MemorySize(d_model=256, num_keys=num_keys, num_heads=4, top_k=32, half_dim=64, tokens=1024)
    for num_keys in (128, 512, 1024)
)
QUICK = MemorySize(d_model=32, num_keys=16, num_heads=2, top_k=4, half_dim=8, tokens=32)


def tasks(threads: tuple[int, ...], *, quick: bool) -> Iterator[Task]:
    """Declare all sizes."""
    for size in (QUICK,) if quick else SIZES:
        for count in threads:
            yield Task(
                case="memory",
                label=f"{size.num_keys}^2 slots",
                size=asdict(size),
                dtype="float32",
                threads=count,
                draw=partial(_draw, size),
                tolerances=TOLERANCES,
                packages=("product_key_memory",),
            )


def _draw(size: MemorySize) -> tuple[Entrant, ...]:
    generator = torch.Generator().manual_seed(0)
    shape = (_SETS, 1, size.tokens, size.d_model)
    inputs = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    ours, dense, sparse = _ours(size), _package(size), _package(size, sparse=True)
    for theirs in (dense, sparse):
        _copy(ours, theirs, size)
    context = ForwardContext(token_ids=torch.zeros(1, size.tokens, dtype=torch.long))
    table = 4 * size.num_keys**2 * size.d_model
    return (
        Entrant(
            name=OURS,
            enter=lambda: _way(lambda x: ours(x, context), _our_optimizers(ours), *inputs),
            needs=3 * table,
        ),
        Entrant(
            name=DENSE,
            enter=lambda: _way(dense, [_adamw(dense.parameters())], *inputs),
            needs=4 * table,
        ),
        Entrant(
            name=SPARSE,
            enter=lambda: _way(sparse, _sparse_optimizers(sparse), *inputs),
            needs=4 * table,
        ),
    )


def _way(
    layer: Any, optimizers: Sequence[torch.optim.Optimizer], inputs: Tensor, grads: Tensor
) -> Way:
    def prepare(turn: int) -> tuple[Tensor, Tensor]:
        place = turn % _SETS
        return inputs[place].clone().requires_grad_(), grads[place]

    def run(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, grad = batch
        result = layer(x)
        result.backward(grad)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert x.grad is not None, "backward reaches the input"
        return result.detach(), x.grad

    return Way(prepare=prepare, run=run, outputs=lambda found: found)


def _ours(size: MemorySize) -> MemoryBlock:
    config = MemoryConfig(
        num_keys=size.num_keys,
        value_dim=size.d_model,
        num_heads=size.num_heads,
        top_k=size.top_k,
        key_dim=2 * size.half_dim,
        bias=False,
    )
    scope = ModelScope(d_model=size.d_model, num_layers=1, vocab_size=1, pools={})
    block = MemoryBlock(config, BuildContext(scope=scope, norm_eps=1e-5, pools={}))
    block.values.collect_rows()
    return block


def _package(size: MemorySize, *, sparse: bool = False) -> nn.Module:
    from product_key_memory import PKM

    layer = PKM(
        size.d_model,
        heads=size.num_heads,
        num_keys=size.num_keys,
        topk=size.top_k,
        dim_head=size.half_dim,
    )
    layer.norm = nn.Identity()
    layer.values.sparse = sparse
    return layer


@torch.no_grad()
def _copy(ours: MemoryBlock, theirs: nn.Module, size: MemorySize) -> None:
    """Give our block the package's weights; their queries are laid out [half, head]."""
    generator = torch.Generator().manual_seed(1)
    for parameter in theirs.parameters():
        parameter.normal_(std=size.d_model**-0.5, generator=generator)
    queries = theirs.to_queries.weight.unflatten(0, (2, size.num_heads, -1))
    ours.query.weight.copy_(queries.transpose(0, 1).flatten(0, 2))
    ours.codebooks.copy_(theirs.keys.permute(2, 0, 1, 3))
    ours.values.weight.copy_(theirs.values.weight)


def _our_optimizers(block: MemoryBlock) -> list[torch.optim.Optimizer]:
    gradients = row_gradients(block)
    rows = RowOptimizer(list(gradients), gradients, rule="adam", lr=LEARNING_RATE)
    rest = [parameter for parameter in block.parameters() if parameter not in gradients]
    return [JointOptimizer(rows, _adamw(rest))]


def _sparse_optimizers(layer: nn.Module) -> list[torch.optim.Optimizer]:
    rest = [p for p in layer.parameters() if p is not layer.values.weight]
    return [torch.optim.SparseAdam([layer.values.weight], lr=LEARNING_RATE), _adamw(rest)]


def _adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
