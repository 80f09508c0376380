"""Stochastic rounding to bf16: up or down by chance, so that on average nothing is lost.

Rounded to the nearest, updates below 2^-9 of a value vanish. The chance comes from a generator that
has a counter and no state: the bits of an element depend on (seed, row, column) and nothing else.
Neither order nor chunks nor the implementation change a result. In 32-bit unsigned arithmetic::

    mix(x)  = x ^= x >> 16;  x *= 0x85EBCA6B;  x ^= x >> 13;  x *= 0xC2B2AE35;  x ^= x >> 16
    key     = mix(mix(row + 0x9E3779B9) ^ seed)             row and seed modulo 2^32
    chance  = mix(key + column * 0x9E3779B9) >> 16          16 bits
    rounded = (bits of the fp32 value + chance) & 0xFFFF0000

``mix`` is the finaliser of MurmurHash3, the constant added 2^32 over the golden ratio. Infinities
and NaN are converted as usual.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9


def round_stochastically(values: Tensor, rows: Tensor, seed: int) -> Tensor:
    """Round fp32 values up with the chance that is their distance from the value below.

    Args:
        values: [n, width], fp32.
        rows: [n], int64, the rows of the table that the values are for.
        seed: Another one for every table and step.

    Returns:
        [n, width], bf16.
    """
    bits = random_bits(rows, values.shape[1], seed).add_(values.view(torch.int32))
    rounded = bits.bitwise_and_(-0x10000).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)


def random_bits(rows: Tensor, width: int, seed: int) -> Tensor:
    """Draw 16 bits for every element of these rows, int32 [rows, width]."""
    keys = _mix(_mix(_wrap(rows + _GOLDEN)) ^ _signed(seed))  # [rows]
    columns = _wrap(torch.arange(width, device=rows.device) * _GOLDEN)
    return _shift(_mix(keys[:, None] + columns), 16)


def mix_seed(*numbers: int) -> int:
    """Make one 32-bit seed of several numbers, each modulo 2^32; their order matters."""
    seed = 0
    for number in numbers:
        seed = (seed * 0x9E3779B1 + number + _GOLDEN) & _MASK
        seed ^= seed >> 16
        seed = seed * 0x85EBCA6B & _MASK
        seed ^= seed >> 13
        seed = seed * 0xC2B2AE35 & _MASK
        seed ^= seed >> 16
    return seed


# Signed 32-bit numbers hold the bits of unsigned ones: sums and products wrap in the same way, and
# a shift to the right has to clear what it drew in from the left.


def _mix(bits: Tensor) -> Tensor:
    bits = bits ^ _shift(bits, 16)
    bits *= _signed(0x85EBCA6B)
    bits ^= _shift(bits, 13)
    bits *= _signed(0xC2B2AE35)
    bits ^= _shift(bits, 16)
    return bits


def _shift(bits: Tensor, by: int) -> Tensor:
    return (bits >> by).bitwise_and_((1 << (32 - by)) - 1)


def _wrap(numbers: Tensor) -> Tensor:
    """Take int64 modulo 2^32, as int32."""
    return ((numbers + 0x80000000) & _MASK).sub_(0x80000000).int()


def _signed(number: int) -> int:
    return ((number + 0x80000000) & _MASK) - 0x80000000
