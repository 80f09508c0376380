"""Measure this machine's CPU and write what it reaches as a hardware document.

What is written is reached, not promised: rooflines on it are nearer to real times than those on a
vendor's peaks.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

from archspec.spec.hardware import HardwareSpec, PeakFlops

_SIZE = 1536  # of the square matrices: 28 MB in fp32, larger than most caches
_COPY_ELEMENTS = 2**25  # 128 MiB in fp32
_WARMUPS, _RUNS = 2, 7
_DTYPES = ("float32", "bfloat16")


def measure_device() -> HardwareSpec:
    """Measure matrix multiplication in fp32 and bf16, and the bandwidth of a copy.

    Each figure is the median of several runs with as many threads as torch uses here.
    """
    threads = torch.get_num_threads()
    return HardwareSpec(
        archspec=1,
        kind="hardware",
        name=f"{platform.processor() or platform.machine()} CPU, {threads} threads",
        source=f"measured by `archspec hardware --measure`: medians of {_RUNS} runs, "
        f"{_SIZE} x {_SIZE} matrices, torch {torch.__version__}",
        peak_flops=PeakFlops(**{name: measure_matmul(name) for name in _DTYPES}),
        memory_bandwidth=_copy_bandwidth(),
        memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
    )


def measure_matmul(
    dtype: str, *, size: int = _SIZE, runs: int = _RUNS, device: str = "cpu"
) -> float:
    """Measure the FLOP/s of square matrix multiplications; draws nothing from torch's generator.

    Args:
        dtype: Of the matrices.
        size: Of their sides.
        runs: Whose median counts.
        device: Where they run.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randn(size, size, generator=generator).to(device, getattr(torch, dtype))
        for _ in range(2)
    )
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else _nothing

    def run() -> None:
        torch.mm(a, b)
        wait()

    return 2 * size**3 / _median_seconds(run, runs)


def _copy_bandwidth() -> float:
    """Count each byte of a copy twice, for it is read and written."""
    source = torch.zeros(_COPY_ELEMENTS)
    target = torch.empty_like(source)
    seconds = _median_seconds(lambda: target.copy_(source))
    return 2 * source.nbytes / seconds


def _nothing() -> None:
    """Do nothing, where nothing runs in the background."""


def _median_seconds(run: Callable[[], object], runs: int = _RUNS) -> float:
    taken = []
    for _ in range(_WARMUPS + runs):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[_WARMUPS:])
