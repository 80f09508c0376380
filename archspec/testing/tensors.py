"""Comparing tensors, copying the arguments of an op, and memory that nobody may read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Args = tuple[Any, ...]
Outputs = tuple[Tensor, ...]


def error_ratio(actual: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference over the norm of ``exact``, both taken in fp64."""
    actual, exact = actual.detach().double(), exact.detach().double()
    return float((actual - exact).norm() / exact.norm().clamp_min(torch.finfo(torch.float64).tiny))


def assert_close(actual: Tensor, exact: Tensor, ratio: float) -> None:
    """Demand equal integers, or floating-point values within the error ratio."""
    assert actual.shape == exact.shape
    if actual.is_floating_point():
        assert error_ratio(actual, exact) <= ratio
    else:
        assert torch.equal(actual, exact)


def assert_same_bits(actual: Outputs, expected: Outputs) -> None:
    """Demand equal values, where NaN equals nothing."""
    assert len(actual) == len(expected)
    for place, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert torch.equal(one, other), f"value {place} of {len(expected)} differs"


def as_tuple(result: Tensor | Outputs | None) -> Outputs:
    """Put a single output into a tuple, and none into an empty one."""
    if result is None:
        return ()
    return (result,) if isinstance(result, Tensor) else tuple(result)


def differentiable(values: Args) -> Outputs:
    """Pick the floating-point tensors."""
    return tuple(v for v in values if is_float(v))


def gradients(outputs: Outputs, args: Args, cotangents: Outputs) -> Outputs:
    """Return the gradients of all floating-point arguments."""
    return torch.autograd.grad(differentiable(outputs), differentiable(args), cotangents)


def cotangents_of(outputs: Outputs) -> Outputs:
    """Make a gradient for each floating-point output, from its shape alone.

    It is positive and exact in every dtype: steps of 1/64 from 1/2 to 5/2.
    """
    return tuple(_waves(t).to(t) for t in differentiable(outputs))


def _waves(tensor: Tensor) -> Tensor:
    places = torch.arange(tensor.numel(), device=tensor.device, dtype=torch.float64)
    return ((1.5 + places.cos()) * 64).round().div(64).view(tensor.shape)


def cast(values: Args, dtype: torch.dtype) -> Args:
    """Copy the floating-point tensors in another dtype, detached."""
    return tuple(v.detach().to(dtype, copy=True) if is_float(v) else v for v in values)


def magnitudes(values: Args) -> Args:
    """Make floating-point tensors positive.

    Then an error ratio measures how sums are kept, and not how much they cancel.
    """
    return tuple(v.detach().abs() if is_float(v) else v for v in values)


def with_grad(values: Args) -> Args:
    """Copy the floating-point tensors as leaves that want a gradient."""
    return tuple(v.detach().clone().requires_grad_() if is_float(v) else v for v in values)


def to_device(values: Args, device: str) -> Args:
    """Move the tensors to a device, ``meta`` included."""
    return tuple(v.to(device) if isinstance(v, Tensor) else v for v in values)


def is_float(value: object) -> bool:
    """Say whether this is a floating-point tensor."""
    return isinstance(value, Tensor) and value.is_floating_point()


def describe(tensor: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    """Name what a fake has to get right."""
    return tensor.shape, tensor.stride(), tensor.dtype


@contextmanager
def poisoned_memory(*, poison: bool = True) -> Iterator[None]:
    """Fill memory that torch hands out uninitialised with NaN or the largest integer.

    Args:
        poison: False leaves memory alone, and all other settings as poisoning has them.
    """
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = poison
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = fill
