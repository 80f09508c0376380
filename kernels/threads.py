"""Ranges of rows on several threads, for CPU kernels that release the interpreter's lock.

The threads are those that torch's own ops run on. Others would find them in their way: OpenMP's
threads spin for a while after each op, and hold the cores that the next kernel needs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch

_IMPORTED_BY = os.getpid()
_TeamJob = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def run_ranges(function: Callable[[int, int], object], bounds: Sequence[int]) -> None:
    """Call ``function(start, stop)`` for neighbouring bounds, all at once.

    The calling thread takes part. Safe from several threads at a time, and in a child process after
    a fork. Waits for all ranges; then raises what one of them raised, if any did.

    Args:
        function: Releases the interpreter's lock, and does not call :func:`run_ranges` itself.
        bounds: Where the ranges begin, and the end of the last. Empty ranges are left out.
    """
    ranges = [(start, stop) for start, stop in pairwise(bounds) if start < stop]
    if len(ranges) == 1:
        function(*ranges[0])
        return
    pending, errors = iter(ranges), list[BaseException]()

    def work(_: object = None) -> None:
        for start, stop in pending:  # shared by all threads, each of which takes the next
            try:
                function(start, stop)
            except BaseException as error:  # noqa: BLE001 - raised in the caller, below
                errors.append(error)

    _on_threads(work, len(ranges))
    if errors:
        raise errors[0]


def even_bounds(total: int, least: int = 1) -> list[int]:
    """Split ``total`` rows evenly among torch's threads, at least ``least`` rows to a range."""
    parts = max(1, min(torch.get_num_threads(), total // max(1, least)))
    return [total * part // parts for part in range(parts + 1)]


def _on_threads(work: Callable[[object], None], count: int) -> None:
    """Call ``work`` on up to ``count`` threads at a time, this one among them."""
    team = _torch_team()
    if team is not None:
        team(_TeamJob(work), None, count, 0)
        return
    others = [_pool().submit(work, None) for _ in range(count - 1)]
    work(None)
    for other in others:
        other.result()


@cache
def _torch_team() -> Any:
    """Return what starts torch's OpenMP threads on a job; None where torch has none of GNU's kind.

    torch loads the library for the whole process to see, so that this is the one it runs on itself.
    A fork does not copy the threads, and the child's library would wait for them in vain.
    """
    if os.name != "posix" or os.getpid() != _IMPORTED_BY:
        return None
    start = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if start is None or "backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    start.argtypes = [_TeamJob, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    return start


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="archspec-kernels")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_torch_team.cache_clear)
