"""What speed and memory of a run are held against."""

from __future__ import annotations

import functools
import resource
import sys

import torch

from archspec.cost.measure_device import measure_matmul
from archspec.spec.load import load_hardware
from archspec.spec.plan import PlanSpec
from archspec.train.events import Peak
from archspec.units import format_decimal

_QUICK_SIZE = 1024  # of the square matrices: some hundredths of a second each on one core
_TRIES = 4


def find_peak(plan: PlanSpec | None, *, device: torch.device) -> Peak:
    """Return the peak of one rank: that of the plan's device, or a measured one.

    Args:
        plan: Names a device, or none.
        device: What is measured where no device is named.

    Raises:
        ArchspecError: The device's document says nothing of the plan's element type.
    """
    dtype = "float32" if plan is None else plan.precision.compute
    if plan is not None and plan.hardware is not None:
        named = load_hardware(plan.hardware)
        return Peak(flops=named.flops(dtype), source=f"{named.name}, {dtype}", measured=False)
    flops = _measured(dtype, device.type, torch.get_num_threads())
    rate = format_decimal(flops, "FLOP/s")
    return Peak(flops=flops, source=f"{rate} measured in {dtype} on {device.type}", measured=True)


def device_name(device: torch.device) -> str:
    """Name a device for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_memory(device: torch.device) -> int:
    """Return the most memory that the process has used: of the device, or of the host on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


@functools.cache
def _measured(dtype: str, device: str, threads: int) -> float:  # noqa: ARG001 - of the cache's key
    """Measure once a process: a search trains many models in one.

    The best of a few is taken, since whatever else runs on the machine only makes it slower.
    """
    return max(
        measure_matmul(dtype, size=_QUICK_SIZE, runs=1, device=device) for _ in range(_TRIES)
    )
