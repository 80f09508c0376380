"""Clocks, and rounds in which everybody runs once."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import torch

from archspec.bench.contest import Way

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLUSH_BYTES = 1 << 28  # five times the L2 cache of an H100
_CLEARINGS = 4  # some 0.4 ms, in which the host gets ahead of the device


class Clock:
    """Times one run on one device.

    On CUDA, events around the call. A buffer is cleared before each, which empties the cache and
    gives the host a head start, so that launches are not what is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._flush = None
        if device.type == "cuda":
            self._flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device=device)

    def seconds(self, way: Way, turn: int) -> float:
        """Run a way on the inputs of a turn, and return the seconds it took."""
        state = way.prepare(turn)
        if self._flush is None:
            start = time.perf_counter()
            way.run(state)
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(_CLEARINGS):
            self._flush.zero_()
        begin.record()
        way.run(state)
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3


def copy_way(device: torch.device, size: int) -> tuple[Way, int]:
    """Return the yardstick, a copy of ``size`` bytes in the device's memory, and what it moves."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Way(prepare=lambda _: None, run=lambda _: target.copy_(source)), 2 * size


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How often everybody runs.

    Args:
        least: Rounds at least, unless patience ends.
        most: Rounds at most.
        budget: Seconds after which no round begins, once ``least`` are done.
        patience: Seconds after which no round begins, once three are done.
    """

    least: int
    most: int
    budget: float
    patience: float

    def are_over(self, done: int, seconds: float) -> bool:
        """Say whether no more rounds begin."""
        if done < min(3, self.most):
            return False
        return (
            done >= self.most
            or seconds > self.patience
            or (done >= self.least and seconds > self.budget)
        )


def run_rounds(clock: Clock, ways: Mapping[str, Way], rounds: Rounds) -> dict[str, list[float]]:
    """Run everybody once a round, in an order drawn for the round.

    A fixed order would favour whoever follows one that leaves the caches warm.

    Args:
        clock: Of the device.
        ways: By name. Each has run before.
        rounds: How many.

    Returns:
        Seconds by name, one a round.
    """
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in names}
    turn, done, start = 0, 0, time.monotonic()
    random = Random(0)
    with _no_garbage_collection():
        while not rounds.are_over(done, time.monotonic() - start):
            for name in random.sample(names, len(names)):
                times[name].append(clock.seconds(ways[name], turn))
                turn += 1
            done += 1
    return times


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
