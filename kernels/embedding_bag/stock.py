"""Stock ops, on any device: everything is a sum of bags, also the dense gradient of the table.

``scatter_rows`` is ``F.embedding_bag`` over the transposed incidence of tokens and slots: with the
look-ups sorted by slot, a slot is a bag of tokens. No two threads write one row, so the result is
bitwise reproducible.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archspec.kernels.row_sums.stock import sum_bags

# Elements of gathered rows that gather_dot holds at a time: 1 MB in fp32, within an L2 cache.
_CHUNK_ELEMENTS = 1 << 18


def embedding_bag(indices: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag`."""
    tokens, picks = indices.shape
    if indices.numel() == 0:
        return table.new_zeros(tokens, table.shape[1])
    starts = torch.arange(
        0, tokens * picks, picks, dtype=indices.dtype, device=indices.device
    )  # [tokens]
    try:
        return _sum_bags(indices.reshape(-1), weights.reshape(-1), table, starts)
    except RuntimeError:  # on CPU the stock op checks each index as it goes
        require_range(indices, table.shape[0])
        raise


def gather_dot(indices: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.gather_dot`."""
    (tokens, picks), value_dim = indices.shape, table.shape[1]
    dtype = torch.promote_types(table.dtype, torch.float32)
    chunk = max(1, _CHUNK_ELEMENTS // max(1, picks * value_dim))  # tokens
    result = table.new_empty(tokens, picks, dtype=dtype)
    buffer = table.new_empty(min(chunk, tokens) * picks, value_dim)
    for start in range(0, tokens, chunk):
        part = indices[start : start + chunk].reshape(-1)
        rows = torch.index_select(table, 0, part, out=buffer[: part.numel()])
        torch.bmm(
            rows.view(-1, picks, value_dim).to(dtype),
            grad[start : start + chunk, :, None].to(dtype),
            out=result[start : start + chunk, :, None],
        )
    return result


def scatter_rows(indices: Tensor, weights: Tensor, grad: Tensor, slots: int) -> Tensor:
    """See :func:`archspec.kernels.embedding_bag.reference.scatter_rows`."""
    if indices.numel() == 0:
        return grad.new_zeros(slots, grad.shape[1])
    flat = indices.reshape(-1)
    require_range(flat, slots)
    # int32 keys sort 1.4 to 1.9 times as fast. Stable: it fixes the order of addition in a row.
    keys = flat.int() if slots <= torch.iinfo(torch.int32).max else flat
    order = torch.sort(keys, stable=True).indices  # [tokens * picks]
    counts = torch.bincount(flat, minlength=slots)  # [slots]
    tokens, sorted_weights = order // indices.shape[1], weights.reshape(-1)[order]
    starts = F.pad(counts.cumsum(0), (1, 0))  # [slots + 1]
    if grad.dtype in (torch.float32, torch.float64):
        return sum_bags(starts, tokens, sorted_weights.to(grad.dtype), grad)
    return _sum_bags(tokens, sorted_weights, grad, starts[:-1])


def embedding_bag_backward(
    indices: Tensor, weights: Tensor, grad: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`archspec.kernels.embedding_bag.reference.embedding_bag_backward`."""
    dots = gather_dot(indices, grad, table)
    return dots, scatter_rows(indices, weights, grad, table.shape[0])


def _sum_bags(indices: Tensor, weights: Tensor, table: Tensor, starts: Tensor) -> Tensor:
    """Sum weighted rows of the bags that begin at ``starts``, in fp32 within a bag."""
    if weights.dtype != table.dtype:
        # The stock op wants one dtype. Two 16-bit terms carry an fp32 weight to at least 2^-16,
        # where rounding it to one would cost as much as the rounding of the result.
        high = weights.to(table.dtype)
        low = (weights - high).to(table.dtype)
        weights = torch.stack((high, low), dim=1).reshape(-1)
        indices, starts = indices.repeat_interleave(2), starts * 2
    # Detached: for what might want a gradient, the stock op also records which bag a row is of.
    return F.embedding_bag(
        indices, table.detach().contiguous(), starts, mode="sum", per_sample_weights=weights
    )


def require_range(indices: Tensor, slots: int) -> None:
    """Raise an IndexError if an index lies outside [0, slots); GPUs are not asked."""
    if indices.is_cuda:
        return  # reading the extremes would stall the device
    low, high = map(int, torch.aminmax(indices))
    if low < 0 or high >= slots:
        raise IndexError(
            f"embedding_bag: indices must lie in [0, {slots}), but they span [{low}, {high}]"
        )
