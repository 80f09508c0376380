"""Several ranks in one test: as threads of this process, or as processes over gloo.

Threads share torch's "threaded" process group: a step of eight ranks takes seconds, where spawning
eight processes takes half a minute. What a rank returns comes back; what it raises is raised here,
and a rank that hangs fails the test instead of stopping it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Result = TypeVar("Result")
_GRACE = 2.0  # seconds that other ranks get once one has raised


class RankError(AssertionError):
    """One or more ranks raised; the message holds every rank's traceback."""


def run_on_threads(
    world_size: int, run: Callable[..., Result], *args: Any, timeout: float = 120.0
) -> list[Result]:
    """Run ``run(rank, *args)`` on every rank at once and return the results by rank.

    Args:
        world_size: Ranks.
        run: What a rank does; a process group of all ranks is the default group meanwhile.
        args: Further arguments, shared by all ranks.
        timeout: Seconds after which a hanging rank fails the test.

    Raises:
        RankError: A rank raised, or did not come to an end.
    """
    results: dict[int, Result] = {}
    faults: dict[int, str] = {}
    with _threaded_world() as (store, stop_all):

        def work(rank: int) -> None:
            try:
                torch.set_num_threads(1)
                dist.init_process_group("threaded", rank=rank, world_size=world_size, store=store)
                results[rank] = run(rank, *args)
            except SystemExit:  # another rank failed first, and said so
                pass
            except BaseException as error:  # noqa: BLE001 (reported by the test's own thread)
                faults[rank] = traceback.format_exc()
                _wait_for(lambda: len(results) + len(faults) == world_size)
                stop_all(error)
            finally:
                if dist.is_initialized():
                    dist.destroy_process_group()

        threads = [
            threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(world_size)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + timeout
        for rank, thread in enumerate(threads):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                faults.setdefault(rank, f"no end after {timeout} s, at\n{_stack_of(thread)}")
                stop_all(TimeoutError())
    _raise_faults(faults)
    return [results[rank] for rank in range(world_size)]


def _wait_for(done: Callable[[], bool]) -> None:
    """Let other ranks come to an end by themselves; those that wait for a dead one do not."""
    deadline = time.monotonic() + _GRACE
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


@contextmanager
def _threaded_world() -> Iterator[tuple[Any, Callable[[BaseException], None]]]:
    """Give every thread a world of its own, with autograd running in the calling thread."""
    from torch.testing._internal.distributed import multi_threaded_pg as threaded

    if dist.is_initialized():
        raise RuntimeError("ranks as threads need a process without a process group")
    isolate: Any = getattr(torch._C._distributed_c10d, "_set_thread_isolation_mode")  # noqa: B009 (untyped)
    isolate(True)
    threaded._install_threaded_pg()
    threaded.ProcessLocalGroup.reset()
    try:
        yield torch._C._distributed_c10d.HashStore(), threaded.ProcessLocalGroup.exception_handle
    finally:
        threaded.ProcessLocalGroup.reset()
        threaded._uninstall_threaded_pg()
        isolate(False)


def _stack_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "(ended meanwhile)"


def _raise_faults(faults: dict[int, str]) -> None:
    if faults:
        raise RankError("".join(f"\n--- rank {rank}\n{faults[rank]}" for rank in sorted(faults)))


def run_on_processes(
    world_size: int, run: Callable[..., Result], *args: Any, timeout: float = 300.0
) -> list[Result]:
    """Run ``run(rank, *args)`` in one process a rank, over gloo, and return the results by rank.

    Function, arguments and results are pickled. Takes about seven seconds before a rank starts.

    Raises:
        RankError: A rank raised, or did not come to an end.
    """
    context = mp.get_context("spawn")
    queue = context.Queue()
    port = _free_port()
    processes = [
        context.Process(
            target=_process_main, args=(rank, world_size, port, queue, run, args), daemon=True
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    results: dict[int, Result] = {}
    faults: dict[int, str] = {}
    try:
        for _ in range(world_size):
            rank, fault, result = queue.get(timeout=timeout)
            if fault is not None:
                faults[rank] = fault
                break  # the others wait for this one
            results[rank] = result
    except Exception as error:  # noqa: BLE001 (an empty queue: named below)
        missing = sorted(set(range(world_size)) - results.keys())
        faults |= dict.fromkeys(missing, f"no result after {timeout} s ({error!r})")
    finally:
        for process in processes:
            if faults:
                process.terminate()
            process.join(30)
    _raise_faults(faults)
    return [results[rank] for rank in range(world_size)]


def _process_main(
    rank: int, world_size: int, port: int, queue: Any, run: Callable[..., Any], args: Any
) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        dist.init_process_group(
            "gloo", rank=rank, world_size=world_size, timeout=timedelta(seconds=60)
        )
        result = run(rank, *args)
        dist.barrier()
        queue.put((rank, None, result))
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 (reported by the parent)
        queue.put((rank, traceback.format_exc(), None))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
