"""The processes that train one model together, as torchrun or ``--nproc`` started them.

A rank learns who it is from its environment (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and
``MASTER_*``, see torch.distributed.run). What ranks agree on travels between CPUs, so that asking
never waits for a device.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from archspec.errors import RunError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# A checkpoint on a slow disk takes minutes, during which other ranks wait; nothing takes longer.
TIMEOUT = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes that train one model together.

    Attributes:
        rank: This process, from 0.
        size: Ranks; 1 without a process group.
        device: What this rank computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for all: it renders, logs and writes what is written once."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Tell every rank whether the flag is on at one of them."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over ranks; ``values`` stays as it is."""
        if self.size == 1:
            return values
        import torch.distributed as dist

        total = values.clone()
        dist.all_reduce(total)
        return total

    def share_message(self, message: str | None) -> str | None:
        """Return the message of the lowest rank that has one, or None, on every rank.

        Where all are None, which is how it should be, it costs one number a rank.
        """
        if self.size == 1:
            return message
        import torch.distributed as dist

        speaker = torch.tensor(self.size if message is None else self.rank)
        dist.all_reduce(speaker, op=dist.ReduceOp.MIN)
        if speaker == self.size:
            return None
        box = [message]
        dist.broadcast_object_list(box, src=int(speaker), device=torch.device("cpu"))
        return box[0]

    def barrier(self) -> None:
        """Wait for every rank."""
        self.any(False)


@contextlib.contextmanager
def enter_world(
    device: str | None, *, grouped: bool = False, timeout: float = TIMEOUT
) -> Iterator[World]:
    """Join the ranks that torchrun (or ``--nproc``) started, or be the only one.

    A process group that is there already is used and left as it is.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; None is ``cpu``. Of several ranks on a machine each
            takes the CUDA device of its number.
        grouped: Make a process group even for a single process (a plan needs one).
        timeout: Seconds after which a rank gives up waiting for another.

    Raises:
        RunError: The environment names no rank, or the device is not there for this rank.
    """
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if not 0 <= rank < size:
        raise RunError(f"RANK must be in 0..WORLD_SIZE - 1, but RANK={rank} and WORLD_SIZE={size}")
    if size > 1 or grouped:
        import torch.distributed as dist

        if dist.is_initialized():
            rank, size = dist.get_rank(), dist.get_world_size()
            yield World(rank=rank, size=size, device=_device(device, rank, size))
            return
    world = World(rank=rank, size=size, device=_device(device, rank, size))
    if size == 1 and not grouped:
        yield world
        return
    with _group(world, timeout):
        yield world


@contextlib.contextmanager
def _group(world: World, timeout: float) -> Iterator[None]:
    import torch.distributed as dist

    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if world.device.type == "cuda" else "gloo",
        rank=world.rank,
        world_size=world.size,
        timeout=timedelta(seconds=timeout),
        store=_meeting_point(world.size),
    )
    failed = True
    try:
        yield
        failed = False
    finally:
        # NCCL would wait for what a rank that failed has left under way; its process ends instead.
        if not (failed and world.size > 1 and world.device.type == "cuda"):
            dist.destroy_process_group()


def _meeting_point(size: int) -> Store | None:
    """Return where ranks meet: a single one needs no port, others take it from the environment."""
    if size == 1:
        from torch._C._distributed_c10d import HashStore

        return HashStore()
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise RunError(
            f"WORLD_SIZE={size} says that there are other ranks, but {' and '.join(missing)} is "
            "not set; start with --nproc or torchrun, or unset WORLD_SIZE"
        )
    return None


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise RunError(f"{name} must be a number, but {name}={value!r}; unset it") from None


def _device(name: str | None, rank: int, size: int) -> torch.device:
    """Return the device of this rank, made the current one."""
    try:
        device = torch.device(name or "cpu")
    except RuntimeError:
        raise RunError(f"unknown device {name!r}; use cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise RunError(f"training runs on cpu or cuda, but device {name!r} was asked for")
    if not torch.cuda.is_available():
        raise RunError(
            f"device {name!r} was asked for, but torch {torch.__version__} sees no CUDA device "
            "here; use --device cpu"
        )
    device = _local_device(device, rank, size)
    torch.cuda.set_device(device)
    return device


def _local_device(device: torch.device, rank: int, size: int) -> torch.device:
    count = torch.cuda.device_count()
    if size > 1 and device.index is not None:
        raise RunError(
            f"device {device} was asked for {size} ranks, but each takes one of its own; use "
            "--device cuda"
        )
    index = device.index or 0
    if size > 1:
        index = _number("LOCAL_RANK", rank % count)
    if index >= count:
        raise RunError(
            f"device cuda:{index} was asked for, but torch sees {count} CUDA devices here; start "
            f"at most {count} ranks on this machine"
        )
    return torch.device("cuda", index)
