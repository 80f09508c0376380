"""Hold a plan against a build of it: one rank of any number, in one process, without memory.

A fake process group answers every collective at once, so that the model of one rank among thousands
is laid out on the meta device in seconds. Shapes and element types are then what the rank would
hold.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from archspec.compiler.boxes import held
from archspec.compiler.compile import compile
from archspec.compiler.plan.compare import Local, differences
from archspec.compiler.plan.make import BuildPlan
from archspec.errors import ArchspecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of building some ranks of a plan.

    Attributes:
        ranks: Those that were built.
        num_parameters: Tensors compared on each.
        differences: One line for each that is not as planned.
        seconds: For all of them.
        peak_bytes: Most memory that this process has held so far, torch included.
    """

    ranks: tuple[int, ...]
    num_parameters: int
    differences: tuple[str, ...]
    seconds: float
    peak_bytes: int

    def describe(self) -> str:
        """Say what came of it, in one line, or in one for each difference."""
        ranks = ", ".join(map(str, self.ranks))
        if self.differences:
            return "\n".join(("Not built as planned:", *self.differences))
        return (
            f"Verified: ranks {ranks} hold what was planned, {self.num_parameters} parameters each "
            f"({self.seconds:.1f} s, {self.peak_bytes / 1e6:.0f} MB)."
        )


def verify_plan(found: BuildPlan, ranks: Iterable[int] | None = None) -> Verification:
    """Build some ranks of a plan and compare every parameter's local shape and dtype.

    Args:
        found: The plan.
        ranks: Default: the first, the last, and the one in the middle.

    Raises:
        ArchspecError: This process belongs to a process group already.
    """
    began = time.perf_counter()
    size = found.mesh.world_size
    chosen = tuple(sorted({0, size // 2, size - 1} if ranks is None else set(ranks)))
    faults: list[str] = []
    count = 0
    for rank in chosen:
        with _as_rank(rank, size):
            built = _local_parameters(found)
        count = len(built)
        faults += differences(found, rank, built)
    return Verification(
        ranks=chosen,
        num_parameters=count,
        differences=tuple(faults),
        seconds=time.perf_counter() - began,
        peak_bytes=_peak_bytes(),
    )


def _local_parameters(found: BuildPlan) -> dict[str, Local]:
    model = compile(found.spec, plan=found.plan, device="meta")
    return {
        name: Local(tuple(held(p).shape), str(p.dtype).removeprefix("torch."))
        for name, p in model.named_parameters()
    }


@contextmanager
def _as_rank(rank: int, world_size: int) -> Iterator[None]:
    # Late: it registers the backend "fake", which nobody else needs.
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise ArchspecError(
            "verifying a plan needs a process of its own, but this one belongs to a process group; "
            "run it outside of torchrun"
        )
    store = FakeStore()
    dist.init_process_group("fake", rank=rank, world_size=world_size, store=store)
    try:
        with torch.no_grad():
            yield
    finally:
        dist.destroy_process_group()


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
