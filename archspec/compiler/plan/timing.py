"""How long a step takes at least: a roofline for computing, bytes over bandwidth for the rest.

Parameters are gathered and gradients reduced beside computing; of these only what takes longer
counts. Everything else waits: sums over tp, tokens to experts, look-ups. A group whose ranks do not
fit one node is as fast as the network, for all its bytes. Left out: latency, contention, and what
kernels and libraries lose against the peaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from archspec.compiler.plan.collectives import Collective
from archspec.compiler.plan.mesh import Axis
from archspec.cost.roofline import part_time
from archspec.cost.work import PartWork
from archspec.errors import ArchspecError
from archspec.spec.hardware import HardwareSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of one step of one micro-batch.

    Attributes:
        computing: The roofline of a rank's work, the update included.
        overlapped: Collectives that run beside it.
        waiting: Collectives that it waits for.
        tokens: Tokens of the step, over all ranks.
        useful_flops: What the model needs for these on one rank, without what is recomputed.
        peak_flops: FLOP/s of a rank.
    """

    computing: float
    overlapped: float
    waiting: float
    tokens: int
    useful_flops: float
    peak_flops: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return max(self.computing, self.overlapped) + self.waiting

    @property
    def tokens_per_second(self) -> float:
        """Speed of all ranks together."""
        return self.tokens / self.seconds

    @property
    def mfu(self) -> float:
        """Share of the peak that useful FLOPs reach."""
        return self.useful_flops / (self.seconds * self.peak_flops)


def axis_bandwidth(axis: Axis, hardware: HardwareSpec) -> float:
    """Return the bytes per second at which a rank sends along an axis.

    Raises:
        ArchspecError: The device's document does not say.
    """
    inside = hardware.node_devices is not None and axis.span <= hardware.node_devices
    key = "link_bandwidth" if inside else "network_bandwidth"
    rate = hardware.link_bandwidth if inside else hardware.network_bandwidth
    if rate is None:
        nodes = hardware.node_devices
        raise ArchspecError(
            f"{hardware.name} gives no {key}, which groups of {axis.span} neighbouring ranks need "
            f"(node_devices: {nodes or 'not given'}); add it to the hardware document"
        )
    return rate


def collective_seconds(one: Collective, hardware: HardwareSpec) -> float:
    """Return the time of equal collectives. Raises ArchspecError as ``axis_bandwidth`` does."""
    return one.sent_bytes / axis_bandwidth(one.axis, hardware)


def step_time(
    work: Iterable[PartWork],
    collectives: Iterable[Collective],
    hardware: HardwareSpec,
    *,
    dtype: str,
    tokens: int,
    useful_flops: float,
) -> StepTime:
    """Estimate the time of a step.

    Args:
        work: Of one rank.
        collectives: Of one rank.
        hardware: The device.
        dtype: Element type of matrix multiplications.
        tokens: Tokens of all ranks.
        useful_flops: Of one rank.

    Raises:
        ArchspecError: The device gives no rate for ``dtype``, or a bandwidth is missing.
    """
    peak, bandwidth = hardware.flops(dtype), hardware.memory_bandwidth
    parts = (part_time(part, peak_flops=peak, bandwidth=bandwidth) for part in work)
    seconds = [(one.overlaps, collective_seconds(one, hardware)) for one in collectives]
    return StepTime(
        computing=sum(part.seconds for part in parts),
        overlapped=sum(value for overlaps, value in seconds if overlaps),
        waiting=sum(value for overlaps, value in seconds if not overlaps),
        tokens=tokens,
        useful_flops=useful_flops,
        peak_flops=peak,
    )
