"""Differentiable collectives over one process group.

Each is a pair: what a forward pass gathers, its backward pass sums up and scatters, and so on. They
are torch's functional collectives, so that ``torch.compile`` can trace them and ``CommDebugMode``
counts them. A group of one rank costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_ops = torch.ops._c10d_functional


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return the same value, whose gradient is multiplied by ``factor`` on its way back."""
    result: Tensor = _ScaleGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return result


def all_reduce(x: Tensor, group: dist.ProcessGroup, op: str = "sum") -> Tensor:
    """Sum (or take the maximum) over the group; without a gradient."""
    if group.size() == 1:
        return x
    result: Tensor = _ops.wait_tensor(_ops.all_reduce(x.contiguous(), op, group.group_name))
    return result


def _all_gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    result: Tensor = _ops.wait_tensor(
        _ops.all_gather_into_tensor(x.contiguous(), group.size(), group.group_name)
    )
    return result


def _reduce_scatter(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    result: Tensor = _ops.wait_tensor(
        _ops.reduce_scatter_tensor(x.contiguous(), "sum", group.size(), group.group_name)
    )
    return result


def _all_to_all(
    x: Tensor, out_splits: Sequence[int], in_splits: Sequence[int], group: dist.ProcessGroup
) -> Tensor:
    result: Tensor = _ops.wait_tensor(
        _ops.all_to_all_single(x.contiguous(), list(out_splits), list(in_splits), group.group_name)
    )
    return result


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_gather(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _reduce_scatter(grads[0], ctx.group), None


class _ReduceScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _reduce_scatter(x, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _all_gather(grads[0], ctx.group), None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        out_splits: Sequence[int],
        in_splits: Sequence[int],
        group: dist.ProcessGroup,
    ) -> Tensor:
        ctx.splits, ctx.group = (in_splits, out_splits), group
        return _all_to_all(x, out_splits, in_splits, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        out_splits, in_splits = ctx.splits
        return _all_to_all(grads[0], out_splits, in_splits, ctx.group), None, None, None


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return all_reduce(grads[0], ctx.group), None


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        return all_reduce(x, group)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, widths: Sequence[int], group: dist.ProcessGroup) -> Tensor:
        ctx.start = sum(widths[: group.rank()])
        ctx.width = x.shape[-1]
        return _join(x, widths, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].narrow(-1, ctx.start, ctx.width), None, None


def _join(x: Tensor, widths: Sequence[int], group: dist.ProcessGroup) -> Tensor:
    most = max(widths)
    padded = torch.nn.functional.pad(x, (0, most - x.shape[-1]))
    parts = _all_gather(padded[None], group)  # [ranks, ..., most]
    return torch.cat([part[..., :width] for part, width in zip(parts, widths, strict=True)], -1)


def gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Put the first axes of all ranks after one another; backward sums each rank's share."""
    if group.size() == 1:
        return x
    result: Tensor = _Gather.apply(x, group)  # type: ignore[no-untyped-call]
    return result


def reduce_scatter(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Sum over the ranks and keep this rank's equal share of the first axis; backward gathers."""
    if group.size() == 1:
        return x
    result: Tensor = _ReduceScatter.apply(x, group)  # type: ignore[no-untyped-call]
    return result


def exchange(
    x: Tensor, out_splits: Sequence[int], in_splits: Sequence[int], group: dist.ProcessGroup
) -> Tensor:
    """Send ``in_splits[r]`` rows to rank r and receive ``out_splits[r]``; backward sends back."""
    if group.size() == 1:
        return x
    result: Tensor = _Exchange.apply(x, out_splits, in_splits, group)  # type: ignore[no-untyped-call]
    return result


def enter(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Begin work that the group shares out: the same value, whose gradients are summed."""
    if group.size() == 1:
        return x
    result: Tensor = _Enter.apply(x, group)  # type: ignore[no-untyped-call]
    return result


def leave(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """End work that the group shares out: sum the parts; every rank has the whole gradient."""
    if group.size() == 1:
        return x
    result: Tensor = _Leave.apply(x, group)  # type: ignore[no-untyped-call]
    return result


def join(x: Tensor, widths: Sequence[int], group: dist.ProcessGroup) -> Tensor:
    """End work that the group shares out by columns: put the last axes side by side.

    Args:
        x: [..., width of this rank].
        widths: The width of every rank.
        group: The ranks.
    """
    if group.size() == 1:
        return x
    result: Tensor = _Join.apply(x, widths, group)  # type: ignore[no-untyped-call]
    return result
