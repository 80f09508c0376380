"""How a parameter gets its first values, as data; ``compiler.initialise`` draws them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Normal:
    """Independent normal values with mean 0."""

    std: float


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value everywhere."""

    value: float


Initialiser = Normal | Constant


def fan_in_normal(fan_in: int, *, gain: float = 1.0) -> Normal:
    """Normal values that keep the variance of a sum of ``fan_in`` products at ``gain ** 2``."""
    return Normal(gain * fan_in**-0.5)
