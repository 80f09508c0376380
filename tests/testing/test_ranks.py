"""Ranks as threads and as processes: results, exceptions and hangs."""

import threading

import pytest
import torch
import torch.distributed as dist

from archspec.testing.ranks import RankError, run_on_processes, run_on_threads


def sum_ranks(rank, scale):
    value = torch.tensor(float(rank) * scale)
    dist.all_reduce(value)
    return value.item()


def fail_on_one(rank):
    if rank == 1:
        raise ValueError("rank one is unwell")
    dist.barrier()


def test_threads_meet_in_collectives():
    assert run_on_threads(4, sum_ranks, 2.0) == [12.0] * 4
    assert not dist.is_initialized()


def test_an_exception_of_one_thread_ends_all_and_is_shown():
    with pytest.raises(RankError, match="rank one is unwell"):
        run_on_threads(3, fail_on_one)
    assert run_on_threads(2, sum_ranks, 1.0) == [1.0] * 2


def test_a_hanging_thread_is_an_error_with_its_place():
    event = threading.Event()
    with pytest.raises(RankError, match=r"no end after 0\.2 s(.|\n)*wait"):
        run_on_threads(2, lambda rank: event.wait(5) if rank else None, timeout=0.2)
    event.set()


@pytest.mark.slow
def test_processes_meet_in_collectives():
    assert run_on_processes(2, sum_ranks, 2.0) == [2.0] * 2


@pytest.mark.slow
def test_an_exception_of_one_process_is_shown():
    with pytest.raises(RankError, match="rank one is unwell"):
        run_on_processes(2, fail_on_one)
