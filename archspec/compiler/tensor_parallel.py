"""Work on the same tokens, shared out among the ranks of ``tp``.

A module that shares work begins with ``enter``: its input is the same on every rank and its
gradients are summed. Inside, a projection cut by its result needs no communication, and one cut by
its input ends the work with ``leave``, which sums the results. Parameters that every rank holds in
full and uses inside are laid over ``tp`` as replicas whose gradients are partial, see
``blocks.part.local``; those outside see whole gradients and are not laid over ``tp`` at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from archspec.blocks.dense.module import DenseBlock
from archspec.blocks.layout import chunk
from archspec.blocks.linear import Linear
from archspec.blocks.memory.module import ProductKeyLookup
from archspec.blocks.moe.module import Experts
from archspec.blocks.part import local
from archspec.compiler.collectives import all_reduce, enter, gather, join, leave
from archspec.kernels.linear import linear
from archspec.model.attention.base import Attention
from archspec.model.vocabulary import widen

SHARING = (Attention, DenseBlock, Experts, ProductKeyLookup)  # modules that share work


class LeavingLinear(Linear):
    """A projection cut by its input: it sums what the ranks made, and then adds its bias once."""

    tp_group: dist.ProcessGroup

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Project."""
        result = leave(linear(input, local(self.weight)), self.tp_group)
        bias: Tensor | None = self.bias  # torch declares it a Tensor
        return result if bias is None else result + bias


class ParallelVocabulary:
    """Embedding and head cut by tokens of the vocabulary; see ``model.vocabulary``."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group

    def embed(self, token_ids: Tensor, weight: Tensor) -> Tensor:
        """See :class:`archspec.model.vocabulary.Vocabulary`."""
        start, stop = self._bounds(weight)
        mine = (token_ids >= start) & (token_ids < stop)
        rows = F.embedding(torch.where(mine, token_ids - start, 0), local(weight))
        return leave(torch.where(mine[..., None], rows, 0.0), self._group)

    def logits(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`archspec.model.vocabulary.Vocabulary`."""
        ranks = range(self._group.size())
        bounds = [chunk(weight.shape[0], len(ranks), rank) for rank in ranks]
        widths = [stop - start for start, stop in bounds]
        return join(self._own_logits(x, weight), widths, self._group)

    def nll(self, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """See :class:`archspec.model.vocabulary.Vocabulary`."""
        logits = widen(self._own_logits(x, weight))  # [tokens, own vocabulary]
        top = all_reduce(logits.detach().amax(1), self._group, "max")
        shifted = logits - top[:, None]
        total = leave(shifted.exp().sum(1), self._group)
        start, stop = self._bounds(weight)
        mine = (targets >= start) & (targets < stop)
        found = shifted.gather(1, torch.where(mine, targets - start, 0)[:, None])[:, 0]
        return total.log() - leave(torch.where(mine, found, 0.0), self._group)

    def _own_logits(self, x: Tensor, weight: Tensor) -> Tensor:
        return linear(enter(x, self._group), local(weight))

    def _bounds(self, weight: Tensor) -> tuple[int, int]:
        return chunk(weight.shape[0], self._group.size(), self._group.rank())


def share_work(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Make every module that shares work do so over the ranks of ``group``.

    The parameters are already laid over them.
    """
    for module in model.modules():
        if isinstance(module, SHARING):
            module.register_forward_pre_hook(partial(_enter_inputs, group=group))
        if isinstance(module, ProductKeyLookup):
            _share_lookup(module, group)
        elif isinstance(module, Experts):
            module.register_forward_hook(partial(_leave_output, group=group))
        if type(module) is nn.Linear:  # in a block of somebody else
            module.__class__ = Linear
        if isinstance(module, Linear) and _cut_dim(module.weight) == 1:
            module.__class__ = LeavingLinear
            assert isinstance(module, LeavingLinear), "the class was just set"
            module.tp_group = group


def _cut_dim(parameter: Tensor) -> int | None:
    """Return the dimension along which a parameter is cut, before data parallelism cuts it."""
    from torch.distributed.tensor import DTensor, Shard

    if isinstance(parameter, DTensor):
        for placement in parameter.placements:
            if isinstance(placement, Shard):
                return placement.dim
    return None


def _enter_inputs(
    _module: nn.Module, inputs: tuple[Any, ...], *, group: dist.ProcessGroup
) -> tuple[Any, ...]:
    """Enter with every input that a gradient can reach."""
    return tuple(
        enter(value, group) if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in inputs
    )


def _leave_output(
    _module: nn.Module, _inputs: tuple[Any, ...], output: Tensor, *, group: dist.ProcessGroup
) -> Tensor:
    return leave(output, group)


def _share_lookup(block: ProductKeyLookup, group: dist.ProcessGroup) -> None:
    if _cut_dim(block.codebooks) is not None:
        block.select = partial(  # type: ignore[method-assign]
            _select_all_heads, select=block.select, group=group
        )
    if block.output is None:
        width = block.pool.weight.shape[1]
        block.register_forward_hook(partial(_join_output, width=width, group=group))


def _select_all_heads(
    tokens: Tensor,
    *,
    select: Callable[[Tensor], tuple[Tensor, Tensor]],
    group: dist.ProcessGroup,
) -> tuple[Tensor, Tensor]:
    """Select for own heads and gather those of the others, which read other columns."""
    scores, slots = select(tokens)  # [tokens, own heads, top_k]
    return _gather_heads(scores, group), _gather_heads(slots, group)


def _gather_heads(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    return gather(x.transpose(0, 1), group).transpose(0, 1)


def _join_output(
    _module: nn.Module,
    _inputs: tuple[Any, ...],
    output: Tensor,
    *,
    width: int,
    group: dist.ProcessGroup,
) -> Tensor:
    bounds = [chunk(width, group.size(), rank) for rank in range(group.size())]
    return join(output, [stop - start for start, stop in bounds], group)
