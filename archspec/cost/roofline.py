"""Time on a device: for each part the longer of computing and moving bytes, summed (estimates).

``max(FLOPs / peak, bytes / bandwidth)`` (Williams et al., "Roofline", CACM 2009). Left out: what
kernels lose against the peaks, their launches, communication, and overlap between parts. So the
time is a lower estimate, and what is reached is measured against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from archspec.cost.work import PartWork, Work
from archspec.spec.hardware import HardwareSpec

Bound = Literal["compute", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTime:
    """How long one part takes at least, and why."""

    name: str
    index: int | None
    work: Work
    seconds: float
    bound: Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The estimated time of one pass or step.

    Attributes:
        parts: Every part in the order it runs.
        tokens: Tokens that the pass or step advances by.
        useful_flops: FLOPs that the model needs, without what is recomputed.
        peak_flops: FLOP/s of the device.
    """

    parts: tuple[PartTime, ...]
    tokens: int
    useful_flops: float
    peak_flops: float

    @property
    def seconds(self) -> float:
        """Time of all parts, one after another."""
        return sum(part.seconds for part in self.parts)

    @property
    def tokens_per_second(self) -> float:
        """Speed."""
        return self.tokens / self.seconds

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation (Chowdhery et al., arXiv 2204.02311): the share of the peak."""
        return self.useful_flops / (self.seconds * self.peak_flops)

    @property
    def bound(self) -> Bound:
        """What most of the time goes to."""
        computing = sum(part.seconds for part in self.parts if part.bound == "compute")
        return "compute" if 2 * computing >= self.seconds else "memory"


def part_time(part: PartWork, *, peak_flops: float, bandwidth: float) -> PartTime:
    """Time one part on a device with these rates."""
    computing, moving = part.work.flops / peak_flops, part.work.moved_bytes / bandwidth
    return PartTime(
        name=part.name,
        index=part.index,
        work=part.work,
        seconds=max(computing, moving),
        bound="compute" if computing >= moving else "memory",
    )


def roofline(
    parts: Iterable[PartWork],
    hardware: HardwareSpec,
    *,
    tokens: int,
    useful_flops: float,
    dtype: str = "bfloat16",
) -> Timing:
    """Estimate how long some work takes on a device.

    Args:
        parts: The work, from ``archspec.cost.training`` or ``archspec.cost.inference``.
        hardware: The device.
        tokens: Tokens that the work advances by.
        useful_flops: FLOPs that count towards the utilisation.
        dtype: Element type of matrix multiplications.

    Raises:
        ArchspecError: If the device gives no rate for ``dtype``.
    """
    peak = hardware.flops(dtype)
    bandwidth = hardware.memory_bandwidth
    return Timing(
        parts=tuple(part_time(part, peak_flops=peak, bandwidth=bandwidth) for part in parts),
        tokens=tokens,
        useful_flops=useful_flops,
        peak_flops=peak,
    )
