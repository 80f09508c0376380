import dataclasses
from pathlib import Path

import pytest

from benchmarks.search.goals import goals
from benchmarks.search.page import page
from benchmarks.search.plot import plot
from benchmarks.search.problems import HEADLINE, RARE_CASE
from benchmarks.search.report import Report, Timing


def verdicts(report: Report) -> list[bool | None]:
    return [goal.met for goal in goals(report)]


def found(report: Report, words: str) -> tuple[bool | None, str]:
    (goal,) = (goal for goal in goals(report) if words in goal.text)
    return goal.met, goal.found


def test_a_run_that_keeps_every_promise(make_report, every_result, facts) -> None:
    report = make_report(every_result(), table=facts)
    assert verdicts(report) == [True] * 9
    assert found(report, "table of trained") == (True, "23.5 against 121 (medians)")
    assert found(report, "small enough to list (2,784") == (
        True, "in 6 of 6 searches, half of them within 41",
    )  # fmt: skip
    assert found(report, "0.05% of a space") == (
        True, "1,200 evaluations, 0 over a budget, 0 repeated",
    )  # fmt: skip


def test_regret_above_half_of_the_others_is_a_miss(make_report, every_result, facts) -> None:
    report = make_report(every_result(ours=1.6), table=facts)
    assert verdicts(report)[:3] == [False] * 3
    assert found(report, "random feasible's") == (False, "1.60 against 3.00")


def test_none_that_fits_is_worse_than_any_regret(make_report, every_result, facts) -> None:
    results = [
        dataclasses.replace(r, regrets=(None,) * 100) if r.sampler == "optuna tpe" else r
        for r in every_result()
    ]
    met, words = found(make_report(results, table=facts), "Optuna TPE's")
    assert (met, words) == (True, "1.00 against none that fits")


def test_random_designs_that_never_come_near_count_as_the_longest_search(
    make_report, every_result, facts
) -> None:
    results = [
        dataclasses.replace(r, regrets=(0.4,) * 200) if (r.case, r.sampler) == ("table", "random")
        else r
        for r in every_result()
    ]  # fmt: skip
    report = make_report(results, table=facts)
    assert found(report, "table of trained") == (True, "23.5 against more than 200 (medians)")
    results = [
        dataclasses.replace(r, regrets=(0.4,) * 200) if r.case == "table" else r for r in results
    ]
    met, words = found(make_report(results, table=facts), "table of trained")
    assert (met, words) == (False, "more than 200 against more than 200 (medians)")


def test_what_was_not_measured_is_neither_met_nor_missed(make_report, every_result) -> None:
    report = make_report(every_result(table=False))
    assert found(report, "table of trained") == (None, "there is no table yet")
    few = [r for r in every_result(table=False) if r.case.startswith("interacting, noise 0.3")]
    rest = [r for r in every_result() if r.case.split(",")[0] in ("two goals", "small", "rare")]
    assert found(make_report([*few, *rest], quick=True), "every other structure")[0] is None
    assert found(make_report([*few, *rest], quick=True), "less than 0.5 s")[0] is None


def test_one_design_over_budget_or_tried_twice_is_a_miss(
    make_report, make_result, every_result, facts
) -> None:
    for broken in ({"fitting": 0.99}, {"repeats": 1}):
        results = [*every_result(), make_result(RARE_CASE.name, "nsga2", 0, [1.0] * 100, **broken)]
        report = make_report(results, table=facts)
        assert found(report, "designs that fit, each once")[0] is False
        assert found(report, "0.05% of a space")[0] is False


def test_a_slow_proposal_is_a_miss(make_report, every_result) -> None:
    timings = (Timing(sampler="milp", cpu=0.6, wall=0.7, slowest=0.9),)
    slow = dataclasses.replace(make_report(every_result()), timings=timings)
    assert found(slow, "less than 0.5 s") == (
        False,
        "900 ms of CPU time for milp at worst, 600 ms in the median",
    )


def test_a_sign_test_takes_the_seeds_that_both_ran_with(make_report, make_result) -> None:
    results = [make_result("table", "milp", seed, [float(seed)]) for seed in range(9)]
    results += [make_result("table", "evolution", seed, [2.5]) for seed in (1, 3, 4)]
    ours, theirs = make_report(results).paired("table", "milp", "evolution")
    assert (ours, theirs) == ([1.0, 3.0, 4.0], [2.5, 2.5, 2.5])


@pytest.mark.parametrize("trained", [True, False])
def test_the_page_says_everything(trained, make_report, every_result, facts) -> None:
    report = make_report(every_result(table=trained), table=facts if trained else None)
    text = page(report, "pictures/")
    for goal in goals(report):
        assert goal.text in text
        assert goal.found in text
    for name in report.samplers(HEADLINE.name):
        assert text.count(f"{1e3 * 0.05:.0f} ms") >= 1
        assert name.split()[-1].lower() in text.lower()
    assert "6 of 6, p 0.03" in text
    assert "| `milp` (default) | 6.00 (6.00 to 6.00) |" not in text  # after 25 it has arrived
    assert "| `milp` (default) | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |" in text
    assert ("pictures/search-table.png" in text) == (trained)
    assert ("**not measured** | there is no table yet" in text) == (not trained)
    assert ("| Optuna TPE, constraints | 6 | never | never to never |" in text) == (trained)
    assert "nan" not in text
    assert "inf" not in text.replace("infinite", "")


@pytest.mark.parametrize("trained", [True, False])
def test_figures_are_drawn(trained, tmp_path: Path, make_report, every_result, facts) -> None:
    pytest.importorskip("matplotlib")
    plot(make_report(every_result(table=trained), table=facts if trained else None), tmp_path)
    names = {"search-regret.png", "search-volume.png"} | (
        {"search-table.png"} if trained else set()
    )
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(path.stat().st_size > 10_000 for path in tmp_path.iterdir())
