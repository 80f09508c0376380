"""Look-ups and tables to measure on."""

from __future__ import annotations

import math
import mmap

import torch
from torch import Tensor

SKEWS = ("uniform", "zipf")
_SCATTER = 2_654_435_761  # odd and prime: a bijection modulo any number of slots below it
_TOUCHED_BYTES = 1 << 28  # of rows that the rotating inputs name on CPU, many times a cache


def draw_indices(
    tokens: int, picks: int, slots: int, skew: str, generator: torch.Generator
) -> Tensor:
    """Draw look-ups, [tokens, picks] int32.

    ``zipf`` draws ranks with a probability near 1 / rank (ranks uniform on a log scale) and
    scatters them over the table, lest hot rows be neighbours.
    """
    shape, device = (tokens, picks), generator.device
    if skew == "uniform":
        return torch.randint(slots, shape, generator=generator, device=device, dtype=torch.int32)
    uniform = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    ranks = (torch.exp(uniform * math.log(slots + 1)) - 1).long().clamp_(0, slots - 1)
    return (ranks * _SCATTER % slots).int()


def draw_weights(tokens: int, picks: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Draw weights as a softmax would give them: positive, summing to about 1."""
    drawn = torch.rand((tokens, picks), generator=generator, device=generator.device)
    return (drawn * (2 / picks)).to(dtype)


def draw_normal(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Draw normal values."""
    return torch.empty(shape, device=generator.device, dtype=dtype).normal_(generator=generator)


def lazy_zeros(slots: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros, [slots, width]; on CPU, pages take memory once they are written.

    So a CPU table of 16M slots costs no more than the rows that are looked up, and those lie as far
    apart as in a full table. ``torch.zeros`` writes all of it.
    """
    if device.type != "cpu":
        return torch.zeros(slots, width, dtype=dtype, device=device)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    pages = mmap.mmap(-1, slots * width * dtype.itemsize, flags=flags)
    return torch.frombuffer(pages, dtype=dtype).view(slots, width)


def lazy_table(slots: int, rows: Tensor, values: Tensor) -> Tensor:
    """Return a table, [slots, width], that is zero but for these rows.

    Args:
        slots: Rows of the table.
        rows: [touched] int64, distinct.
        values: [touched, width].
    """
    table = lazy_zeros(slots, values.shape[1], values.dtype, values.device)
    return table.index_copy_(0, rows, values)


def lazy_bytes(device: torch.device, slots: int, width: int, element: int, touched: int) -> int:
    """Bytes of memory behind lazy zeros of which ``touched`` rows are used."""
    if device.type != "cpu":
        return slots * width * element
    page = 4096  # a row takes whole pages, and shares them where most rows are touched
    return min(slots * width * element, touched * (-(-width * element // page) + 1) * page)


def rotations(lookups: int, row_bytes: int) -> int:
    """Return how many sets of inputs take turns, so that no cache keeps one set's rows."""
    return min(8, max(2, -(-_TOUCHED_BYTES // max(1, lookups * row_bytes))))
