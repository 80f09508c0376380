import pytest
import torch

from archspec.bench.sweeps import CASES, sweep
from archspec.errors import BenchmarkError

L2_BYTES = 50e6  # of an H100
DEVICES = [torch.device("cpu"), torch.device("cuda")]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_each_case_has_one_base_and_varies_one_key_at_a_time(device):
    tasks = sweep(device)
    for case in CASES:
        of_case = [task for task in tasks if task.case == case]
        assert sum(not task.varied for task in of_case) == (1 if of_case else 0)
        assert len({tuple(task.size.items()) for task in of_case}) == len(of_case)


def test_the_sweeps_of_the_forward_vary_everything():
    for device in DEVICES:
        varied = {task.varied for task in sweep(device, only=["forward"])}
        assert varied == {"", "width", "picks", "slots", "skew", "dtype"}


def test_gpu_widths_are_measured_on_tables_far_larger_than_the_cache():
    for task in sweep(torch.device("cuda"), only=["forward", "backward"]):
        if task.varied in ("", "width"):
            element = 4 if task.size["dtype"] == "float32" else 2
            assert task.size["slots"] * task.size["width"] * element >= 8 * L2_BYTES


def test_cpu_goals_are_on_the_sizes_that_were_agreed():
    (base,) = (t.size for t in sweep(torch.device("cpu"), only=["step"]) if not t.varied)
    assert (base["slots"], base["width"], base["dtype"]) == (1 << 20, 256, "float32")
    assert base["tokens"] * base["picks"] == 65536
    slots = {t.size["slots"] for t in sweep(torch.device("cpu"), only=["step"])}
    assert {1 << 16, 1 << 20, 1 << 22, 1 << 24} <= slots


def test_quick_sizes_are_small_and_cover_every_case():
    tasks = sweep(torch.device("cpu"), quick=True)
    assert {task.case for task in tasks} == set(CASES)
    assert all(task.needs < 1 << 26 for task in tasks)


def test_an_unknown_case_is_refused():
    with pytest.raises(BenchmarkError, match="'foward'; did you mean 'forward'"):
        sweep(torch.device("cpu"), only=["foward"])
