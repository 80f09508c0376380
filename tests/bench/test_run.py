import dataclasses

import pytest
import torch

from archspec.bench import contest
from archspec.bench import run as run_module
from archspec.bench.bag import BagSize
from archspec.bench.contest import Contest, Entrant, Task, Way
from archspec.bench.forward import forward_task
from archspec.bench.run import QUICK_RUN, describe, run_tasks
from archspec.bench.timing import Clock, Rounds, run_rounds
from archspec.errors import BenchmarkError

CPU = torch.device("cpu")
FORWARD = forward_task(
    BagSize(tokens=4, picks=2, slots=16, width=8, dtype="float32", skew="uniform"), "", CPU
)


def entrant(name, value=1.0, **settings):
    way = Way(
        prepare=lambda turn: turn,
        run=lambda _: torch.full((3,), value),
        outputs=lambda result: (result,),
    )
    return Entrant(name=name, enter=lambda: way, **settings)


def failing(name, error):
    def enter():
        raise error

    return Entrant(name=name, enter=enter)


def task(*entrants, **settings):
    drawn = Contest(entrants=entrants, traffic={"all": 100}, tolerance=1e-6)
    return Task(
        case="made",
        varied="",
        size={"n": 1},
        draw=lambda: drawn,
        **{"needs": 0, **settings},
    )


def measured(made):
    (row,) = run_tasks([made], CPU, QUICK_RUN).rows
    return row


def test_every_way_and_the_copy_run_in_every_round():
    row = measured(task(entrant("archspec"), entrant("stock")))
    assert [len(t.seconds) for t in (row.ours, *row.stock, row.copy)] == [3, 3, 3]
    assert row.bytes == 100
    assert row.copy_bytes == 2 * QUICK_RUN.copy_bytes


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_a_stock_way_with_another_result_is_not_timed(wrong):
    made = task(entrant("archspec"), entrant("stock", wrong), entrant("other"))
    report = run_tasks([made], CPU, QUICK_RUN)
    stock, other = report.rows[0].stock
    assert stock.disagrees
    assert not stock.seconds
    assert other.seconds
    with pytest.raises(BenchmarkError, match=r"made base: stock: its result 0 and ours must agree"):
        report.require_agreement()


def test_results_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr(contest, "_PART", 2)
    ours = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
    assert contest.disagreement([ours], [ours], 0.0) is None
    found = contest.disagreement([ours + torch.eye(3, 2)], [ours], 0.1)
    assert f"differ by {(2 / 55) ** 0.5:.1e}" in found


def test_a_stock_way_that_cannot_run_is_noted():
    row = measured(task(entrant("archspec"), failing("stock", RuntimeError("\nno kernel\nat all"))))
    assert row.stock[0].skipped == "no kernel"
    assert "stock skipped, no kernel" in describe(row)


def test_ours_has_to_run():
    with pytest.raises(RuntimeError, match="no kernel"):
        measured(task(failing("archspec", RuntimeError("no kernel")), entrant("stock")))


def test_ours_may_run_out_of_memory():
    row = measured(task(failing("archspec", torch.OutOfMemoryError("all of it is taken"))))
    assert row.skipped == "all of it is taken"


def test_a_refusal_is_noted_without_a_try():
    row = measured(task(entrant("archspec"), entrant("stock", 2.0, refusal="it crashes")))
    assert row.stock[0].skipped == "it crashes"


def test_what_does_not_fit_is_skipped_with_both_figures(monkeypatch):
    monkeypatch.setattr(run_module, "free_bytes", lambda _: 1 << 30)
    row = measured(task(entrant("archspec"), needs=1 << 31))
    assert row.skipped == "it takes 2.00 GiB of memory, and 1.00 GiB may be taken"
    row = measured(task(entrant("archspec"), entrant("stock", needs=1 << 32)))
    assert row.skipped is None
    assert "4.00 GiB" in row.stock[0].skipped


def test_tasks_after_the_time_limit_are_skipped():
    late = dataclasses.replace(QUICK_RUN, time_limit=-1.0)
    (row,) = run_tasks([task(entrant("archspec"))], CPU, late).rows
    assert "time limit" in row.skipped


def test_progress_says_where_it_is():
    lines = []
    run_tasks([task(entrant("archspec"))] * 2, CPU, QUICK_RUN, progress=lines.append)
    assert [line.split("]")[0] for line in lines] == ["[1/2", "[2/2"]


def test_the_implementation_that_ran_is_named(monkeypatch):
    monkeypatch.setenv("ARCHSPEC_KERNELS", "reference")
    assert measured(FORWARD).implementation == "reference"


def test_ways_take_turns_on_the_inputs_and_follow_each_other_in_any_order():
    seen = []

    def way(name):
        return Way(prepare=lambda turn: seen.append((name, turn)), run=lambda _: None)

    ways = {name: way(name) for name in "abc"}
    run_rounds(Clock(CPU), ways, Rounds(least=20, most=20, budget=0.0, patience=60.0))
    assert [turn for _, turn in seen] == list(range(60))
    rounds = ["".join(name for name, _ in seen[start : start + 3]) for start in range(0, 60, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds)) == 6


@pytest.mark.parametrize(
    ("done", "seconds", "are_over"),
    [
        (2, 99.0, False),
        (3, 9.0, False),
        (3, 11.0, True),
        (6, 2.0, False),
        (7, 2.0, True),
        (7, 0.5, False),
        (15, 0.5, True),
    ],
)
def test_rounds_end_with_budget_or_patience(done, seconds, are_over):
    rounds = Rounds(least=7, most=15, budget=1.0, patience=10.0)
    assert rounds.are_over(done, seconds) is are_over
