import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from archspec.kernels import threads
from archspec.kernels.threads import even_bounds, run_ranges


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("total", [0, 1, 2, 10])
def test_even_bounds_cover_everything_once(count: int, total: int, monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    bounds = even_bounds(total)
    assert (bounds[0], bounds[-1]) == (0, total)
    assert bounds == sorted(bounds)
    assert len(bounds) - 1 == max(1, min(count, total))


def test_small_work_stays_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert even_bounds(100, least=64) == [0, 100]
    assert even_bounds(128, least=64) == [0, 64, 128]


@pytest.fixture(params=["torch's", "ours"])
def _threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on torch's threads, and on those of a torch without OpenMP."""
    if request.param == "ours":
        monkeypatch.setattr(threads, "_torch_team", lambda: None)
    elif threads._torch_team() is None:
        pytest.skip("this torch has no OpenMP of GNU's kind")


@pytest.mark.usefixtures("_threads")
def test_every_range_runs_once_on_as_many_threads() -> None:
    together = threading.Barrier(2, timeout=60)
    seen = {}

    def work(start: int, stop: int) -> None:
        together.wait()  # nobody passes alone
        seen[start, stop] = threading.get_native_id()

    run_ranges(work, [0, 2, 2, 5])
    assert seen.keys() == {(0, 2), (2, 5)}
    assert len(set(seen.values())) == 2
    assert threading.get_native_id() in seen.values()


@pytest.mark.usefixtures("_threads")
def test_an_error_of_any_range_is_raised_after_all_have_run() -> None:
    seen = []

    def work(start: int, stop: int) -> None:
        if start == 0:
            raise ValueError("the first range failed")
        seen.append((start, stop))

    with pytest.raises(ValueError, match="the first range failed"):
        run_ranges(work, [0, 1, 2, 3])
    assert sorted(seen) == [(1, 2), (2, 3)]


@pytest.mark.usefixtures("_threads")
def test_several_threads_may_call_at_once() -> None:
    def total(_: int) -> int:
        parts: list[int] = []
        run_ranges(lambda start, stop: parts.append(stop - start), list(range(0, 101, 10)))
        return sum(parts)

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(total, range(50))) == [100] * 50


@pytest.mark.usefixtures("_threads")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    run_ranges(lambda start, stop: None, [0, 1, 2])  # starts the pool
    child = os.fork()
    if child == 0:
        seen: list[int] = []
        run_ranges(lambda start, stop: seen.append(start), [0, 1, 2])
        os._exit(0 if sorted(seen) == [0, 1] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
