import dataclasses
import json

import pytest
import torch

from archspec.bench.contest import OURS, Entrant, Way
from archspec.bench.results import Timing
from archspec.errors import BenchmarkError
from benchmarks import bench_train
from benchmarks.training import dense, experts, measure, memory, slots
from benchmarks.training.goals import goals, growth
from benchmarks.training.page import page
from benchmarks.training.report import Report, Row, report_from_json, report_json
from benchmarks.training.tasks import Task

ROUNDS = 7
CASES = (dense, experts, memory, slots)


def make_row(case="dense", label="256 x 6", *, seconds=1.0, size=None, **ratios: float) -> Row:
    """A row in which every round took the same time, the others their ratio times ours."""
    return Row(
        case=case,
        label=label,
        size={"tokens": 1000, **(size or {})},
        dtype="float32",
        threads=1,
        ours=Timing(name=OURS, seconds=(seconds,) * ROUNDS),
        others=tuple(
            Timing(name=name, seconds=(seconds * ratio,) * ROUNDS) for name, ratio in ratios.items()
        ),
    )


def make_report(*rows: Row, quick: bool = False) -> Report:
    machine = {"name": "A CPU", "cores": 2, "versions": {"torch": "2.13.0", "transformers": None}}
    return Report(
        machine=machine,
        started="2026-01-01T00:00:00+00:00",
        seconds=600.0,
        quick=quick,
        rows=rows,
    )


SMALL = {"num_experts": 64, "hidden_dim": 64}
LARGE = {"num_experts": 8, "hidden_dim": 512}


def outcomes(*rows: Row) -> list[bool | None]:
    return [not goal.missed if goal.verdicts else None for goal in goals(make_report(*rows))]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (make_row(Llama=1.0), [True, None, None, None]),
        (make_row(Llama=0.98), [False, None, None, None]),
        (make_row("moe", size=LARGE, eager=3.0, grouped_mm=1.1), [None, True, None, None]),
        (make_row("moe", size=SMALL, eager=3.0, grouped_mm=1.1), [None, True, False, None]),
        (make_row("moe", size=SMALL, eager=3.0, grouped_mm=1.2), [None, True, True, None]),
        (make_row("memory", package=9.0, sparse=1.9), [None, None, None, False]),
        (make_row("memory", package=2.0), [None, None, None, True]),
    ],
)
def test_the_fastest_of_the_others_is_what_counts(row, expected):
    assert outcomes(row) == expected


def test_noise_excuses_a_miss_that_it_covers():
    row = make_row(Llama=1.0)
    noisy = tuple(0.97 + 0.02 * turn for turn in range(ROUNDS))
    row = dataclasses.replace(row, others=(Timing(name="Llama", seconds=noisy),))
    assert outcomes(row)[0]


def test_growth_is_told_from_the_sizes_that_somebody_ran_with():
    rows = [
        make_row("slots", "64k slots", size={"slots": 1 << 16}, seconds=1.0, SparseAdam=2.0),
        make_row("slots", "1M slots", size={"slots": 1 << 20}, seconds=1.5, SparseAdam=4.0),
        make_row("slots", "16M slots", size={"slots": 1 << 24}, seconds=2.0),
    ]
    report = make_report(*rows)
    assert growth(report, "")[2] == 2.0
    assert growth(report, "SparseAdam")[2] == 3.0
    assert growth(report, "dense gradient, AdamW") is None


def test_the_page_says_what_was_met_and_what_was_missed():
    text = page(make_report(make_row(Llama=1.5), make_row("memory", "128^2", package=1.5)), "x.png")
    assert "**met** in all 1 rows, medians 1.50x to 1.50x" in text
    assert "**missed** in 1 of 1 rows: 128^2, float32, 1 thread, against package: 1.50x" in text
    assert text.count("**not measured**") == 2
    assert "| 256 x 6 | float32 | 1 | 1.00 s | 1,000 | 1.50x (1.50-1.50) |" in text
    assert "![" in text
    assert "(x.png)" in text
    assert "transformers" not in text.split("Measured on")[1].splitlines()[0]


def test_stock_ways_that_met_ours_apart_share_a_line():
    size = {"slots": 1 << 16}
    rows = [make_row("slots", "64k", size=size, a=2.0), make_row("slots", "64k", size=size, b=3.0)]
    (line,) = [line for line in page(make_report(*rows), "x.png").splitlines() if "| 64k" in line]
    assert "2.00x" in line
    assert "3.00x" in line


def test_a_report_is_read_as_it_was_written():
    skipped = dataclasses.replace(make_row(), ours=Timing(name=OURS), skipped="no memory")
    report = make_report(make_row(Llama=1.5), skipped)
    assert report_from_json(report_json(report)) == report


def test_another_file_is_refused():
    with pytest.raises(BenchmarkError, match="kind 'kernels'"):
        report_from_json(json.dumps({"schema": 1, "kind": "kernels"}))


def constant_way(*outputs: float) -> Way:
    """A way whose steps give these losses, one after the other, and then the last."""
    losses = list(outputs)

    def run(_):
        return torch.tensor(losses.pop(0) if len(losses) > 1 else losses[0])

    return Way(prepare=lambda turn: turn, run=run, outputs=lambda loss: (loss,))


def task_of(*entrants: Entrant, packages=()) -> Task:
    return Task(
        case="dense",
        label="a",
        size={"tokens": 1},
        dtype="float32",
        threads=1,
        draw=lambda: entrants,
        tolerances=(1e-5, 1e-4),
        packages=packages,
    )


def run(*tasks: Task) -> Report:
    return measure.run_tasks(tasks, quick=True, progress=lambda _: None)


def entrant(name: str, *losses: float, **changes) -> Entrant:
    return Entrant(name=name, enter=lambda: constant_way(*losses), **changes)


@pytest.mark.parametrize(
    ("losses", "step"), [((1.0001, 0.5), "step 1"), ((1.0, 0.51), "step 2"), ((1.0, 0.5), None)]
)
def test_losses_are_compared_before_times_and_after_an_update(losses, step):
    report = run(task_of(entrant(OURS, 1.0, 0.5), entrant("theirs", *losses)))
    (timing,) = report.rows[0].others
    assert bool(timing.seconds) == (step is None)
    if step is None:
        report.require_agreement()
    else:
        with pytest.raises(BenchmarkError, match=f"dense a: theirs: {step}"):
            report.require_agreement()


def test_who_cannot_run_is_skipped_with_a_reason():
    late = entrant("late", 1.0, refusal="too slow")
    large = entrant("large", 1.0, needs=1 << 60)
    (row,) = run(task_of(entrant(OURS, 1.0), late, large)).rows
    assert row.ours.seconds
    assert row.others[0].skipped == "too slow"
    assert "may be taken" in row.others[1].skipped
    (row,) = run(task_of(packages=("no_such_package",))).rows
    assert "no_such_package is not installed" in row.skipped
    (row,) = run(task_of(entrant(OURS, 1.0, needs=1 << 60))).rows
    assert "may be taken" in row.skipped


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_cases_say_what_a_row_needs(case):
    for task in (*case.tasks((1, 2), quick=False), *case.tasks((1,), quick=True)):
        assert int(task.size["tokens"]) > 0
        assert task.label
        assert json.dumps(dict(task.size))


def test_a_quick_run_measures_and_writes(tmp_path, capsys):
    assert bench_train.main(["--quick", "--only", "slots", "--out", str(tmp_path)]) == 0
    assert "slots 1k slots, float32, 1 thread:" in capsys.readouterr().out
    report = report_from_json((tmp_path / "training-cpu.json").read_text())
    assert report.quick
    assert all(timing.seconds for row in report.rows for timing in row.others)
    assert (tmp_path / "training-cpu.png").stat().st_size > 10_000
    assert "whose figures mean nothing" in (tmp_path / "training_speed.md").read_text()


@pytest.mark.slow
def test_every_case_runs_quickly(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("product_key_memory")
    assert bench_train.main(["--quick", "--out", str(tmp_path)]) == 0
    report = report_from_json((tmp_path / "training-cpu.json").read_text())
    assert {row.case for row in report.rows if row.ours.seconds} == set(bench_train.CASES)
    assert not [timing for row in report.rows for timing in row.others if timing.skipped]


def test_a_whole_run_without_the_libraries_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setattr(bench_train, "installed", lambda _: None)
    assert bench_train.main([]) == 0
    assert "run `make bench-train`" in capsys.readouterr().out


def test_a_case_that_is_none_is_an_error(capsys):
    assert bench_train.main(["--quick", "--only", "slot"]) == 2
    assert "did you mean 'slots'" in capsys.readouterr().err
