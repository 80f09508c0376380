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
    chance = random_bits(rows, values.shape[1], seed).int()
    rounded = (values.view(torch.int32) + chance).bitwise_and_(-0x10000).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)


def random_bits(rows: Tensor, width: int, seed: int) -> Tensor:
    """Draw 16 bits for every element of these rows, int64 [rows, width]."""
    # Unsigned 32-bit numbers in int64. Products wrap modulo 2^64, so their low half is right.
    keys = _mix(_mix((rows + _GOLDEN) & _MASK) ^ (seed & _MASK))  # [rows]
    columns = torch.arange(width, device=rows.device) * _GOLDEN
    return _mix((keys[:, None] + columns) & _MASK) >> 16


def _mix(bits: Tensor) -> Tensor:
    bits = bits ^ (bits >> 16)
    bits = bits.mul_(0x85EBCA6B).bitwise_and_(_MASK)
    bits ^= bits >> 13
    bits = bits.mul_(0xC2B2AE35).bitwise_and_(_MASK)
    bits ^= bits >> 16
    return bits
