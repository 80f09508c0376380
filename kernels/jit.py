"""The two ways in which CPU kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

Kernel = Callable[..., Any]


def compiled(function: Kernel) -> Kernel:
    """Compile for the types of the first call: no lock held, products and sums fused.

    What is compiled stays on the disk, beside the file or, where that is read-only, in the user's
    cache (``NUMBA_CACHE_DIR`` names another place).
    """
    return _compile(function, {"contract"})


def compiled_any_order(function: Kernel) -> Kernel:
    """Compile, and let a sum be taken in any order: a vector of partial sums, then their sum.

    The order is fixed when it is compiled, so that repetitions give the same bits.
    """
    return _compile(function, {"contract", "reassoc"})


def _compile(function: Kernel, fastmath: set[str]) -> Kernel:
    settings = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        kernel: Kernel = njit(cache=True, **settings)(function)
    except RuntimeError:  # no folder can be written to, so that every process compiles anew
        kernel = njit(**settings)(function)
    return kernel
