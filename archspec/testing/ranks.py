"""Ranks that are threads of one process: collectives with real values, in tenths of a second.

The threaded process group is the one that PyTorch tests itself with. Compare in fp64: ranks add in
another order than one process does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.testing._internal.distributed import multi_threaded_pg as threaded

Result = TypeVar("Result")
SECONDS = 60.0  # after which a rank counts as stuck


def run_on_ranks(world_size: int, function: Callable[[int], Result]) -> list[Result]:
    """Run ``function(rank)`` on every rank of a process group, and return what each one returned.

    Raises:
        Exception: Of the first rank that failed by itself.
        TimeoutError: A rank did not come back.
    """
    results: dict[int, Result] = {}
    failures: list[BaseException] = []
    native: Any = torch._C._distributed_c10d
    store = native.HashStore()

    def work(rank: int) -> None:
        dist.init_process_group("threaded", rank=rank, world_size=world_size, store=store)
        try:
            results[rank] = function(rank)
        except BaseException as error:  # noqa: BLE001 (carried to the caller's thread)
            failures.append(error)
            threaded.ProcessLocalGroup.exception_handle(error)  # wakes ranks that wait for this one
        finally:
            dist.destroy_process_group()

    with _threaded_world():
        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        if any(thread.is_alive() for thread in threads):
            raise TimeoutError(f"a rank did not come back within {SECONDS:.0f} seconds")
    if failures:
        raise failures[0]
    return [results[rank] for rank in range(world_size)]


@contextmanager
def _threaded_world() -> Iterator[None]:
    native: Any = torch._C._distributed_c10d
    native._set_thread_isolation_mode(True)
    threaded._install_threaded_pg()
    try:
        yield
    finally:
        threaded._uninstall_threaded_pg()
        threaded.ProcessLocalGroup.reset()
        native._set_thread_isolation_mode(False)
