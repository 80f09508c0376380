"""The benchmark of all kernels, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from archspec.bench.results import Report
from archspec.bench.run import QUICK_RUN, RUNS, Progress, run_tasks
from archspec.bench.sweeps import sweep
from archspec.errors import BenchmarkError


def bench_kernels(
    device: str | None = None,
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    threads: int | None = None,
    progress: Progress = lambda _: None,
) -> Report:
    """Measure every kernel beside the stock ways, at all sizes of its sweep.

    Args:
        device: ``cpu`` or ``cuda``; by default a GPU if there is one.
        only: Names of cases; empty for all.
        quick: Whether to run tiny sizes, which takes seconds and says nothing about speed.
        threads: CPU threads; as many as torch uses by default.
        progress: Takes a line of text after each size.

    Returns:
        Raw times and what follows from them. Memory that is short, and stock ways that cannot run
        or give another result, are noted in it.

    Raises:
        BenchmarkError: There is no such device or case.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError("--device cuda: torch sees no CUDA device here; leave it out for cpu")
    if threads is not None and threads < 1:
        raise BenchmarkError(f"--threads: N >= 1 must hold, but N={threads}; raise it")
    place = torch.device(name)
    tasks = sweep(place, only=only, quick=quick)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return run_tasks(
            tasks,
            place,
            QUICK_RUN if quick else RUNS[name],
            quick=quick,
            progress=progress,
        )
    finally:
        torch.set_num_threads(before)
