import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from archspec.errors import RunError
from archspec.testing.ranks import run_on_threads
from archspec.train.world import World, enter_world


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_alone_there_is_no_group():
    with enter_world(None) as world:
        assert world == World(rank=0, size=1, device=torch.device("cpu"))
        assert world.is_first
        assert not dist.is_initialized()
        assert world.any(True)
        assert not world.any(False)
        assert world.share_message("x") == "x"
        assert torch.equal(world.sum(torch.arange(3)), torch.arange(3))
        world.barrier()


@pytest.mark.parametrize("fails", [False, True])
def test_a_group_of_one_lasts_as_long_as_the_world(fails):
    def enter():
        with enter_world("cpu", grouped=True) as world:
            assert dist.get_world_size() == 1
            assert world.size == 1
            if fails:
                raise KeyError("within")

    if fails:
        with pytest.raises(KeyError):
            enter()
    else:
        enter()
    assert not dist.is_initialized()


def agree(rank):
    with enter_world("cpu", grouped=True) as world:
        assert world.rank == rank
        values = torch.full((2,), float(rank))
        total = world.sum(values)
        assert torch.equal(values, torch.full((2,), float(rank)))
        messages = [f"rank {rank}" if rank in tellers else None for tellers in ((), (2,), (1, 2))]
        world.barrier()
        found = (
            world.any(rank == 2),
            world.any(False),
            total.tolist(),
            [world.share_message(message) for message in messages],
        )
    assert dist.is_initialized(), "the group was there before"
    return found


def test_ranks_agree():
    for found in run_on_threads(3, agree):
        assert found == (True, False, [3.0, 3.0], [None, "rank 2", "rank 1"])


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "two"}, "RANK must be a number, but RANK='two'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 and WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT is not set; start with"),
    ],
)
def test_an_environment_without_a_rank_is_refused(environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=message), enter_world("cpu"):
        pass


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpux", "unknown device 'cpux'; use cpu, cuda or cuda:N"),
        ("meta", "training runs on cpu or cuda, but device 'meta'"),
    ],
)
def test_a_device_that_is_none_is_refused(device, message):
    with pytest.raises(RunError, match=message), enter_world(device):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_refused():
    with pytest.raises(RunError, match="sees no CUDA device here; use --device cpu"):
        enter_world("cuda").__enter__()


def cuda_ranks(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_a_single_process_takes_the_device_it_was_given(monkeypatch):
    chosen = cuda_ranks(monkeypatch, 4)
    with enter_world("cuda:3") as world:
        assert chosen == [world.device] == [torch.device("cuda:3")]
    with (
        pytest.raises(RunError, match="cuda:4 was asked for, but torch sees 4"),
        enter_world("cuda:4"),
    ):
        pass


def test_ranks_take_the_device_of_their_number(monkeypatch):
    chosen = cuda_ranks(monkeypatch, 2)

    def enter(rank):
        with enter_world("cuda", grouped=True) as world:
            return world.device

    assert run_on_threads(2, enter) == [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert len(chosen) == 2


SCRIPT = """
from archspec.train.world import enter_world
with enter_world(None, grouped=True, timeout=60) as world:
    print(world.rank, world.size, world.any(world.rank == 1), world.share_message(
        "from one" if world.rank == 1 else None))
"""


@pytest.mark.slow
def test_processes_meet():
    from archspec.testing.ranks import _free_port

    port = str(_free_port())
    base = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**base, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert said == [f"{rank} 2 True from one" for rank in range(2)]
