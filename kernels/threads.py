"""Ranges of rows on several threads, for CPU kernels that release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


def run_ranges(function: Callable[[int, int], object], bounds: Sequence[int]) -> None:
    """Call ``function(start, stop)`` for neighbouring bounds, all at once.

    The calling thread takes the last range. Safe from several threads at a time, and in a child
    process after a fork. Waits for all ranges; then raises what one of them raised, if any did.

    Args:
        function: Releases the interpreter's lock, and does not call :func:`run_ranges` itself.
        bounds: Where the ranges begin, and the end of the last. Empty ranges are left out.
    """
    ranges = [(start, stop) for start, stop in pairwise(bounds) if start < stop]
    if not ranges:
        return
    others = [_pool().submit(function, start, stop) for start, stop in ranges[:-1]]
    try:
        function(*ranges[-1])
    finally:
        errors = [future.exception() for future in others]
    for error in errors:
        if error is not None:
            raise error


def even_bounds(total: int, least: int = 1) -> list[int]:
    """Split ``total`` rows evenly among torch's threads, at least ``least`` rows to a range."""
    parts = max(1, min(torch.get_num_threads(), total // max(1, least)))
    return [total * part // parts for part in range(parts + 1)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="archspec-kernels")


# A fork copies the pool without its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
