import dataclasses

import pytest

from archspec.errors import FairnessError
from archspec.race.fairness import check_runs, fairness_checks
from archspec.race.results import Point, RunResult
from archspec.testing.race import design, diverged, race, run

FAIR = [design("dense", [0.4, 0.5], entry="reference"), design("shared", [0.6, 0.7])]


def with_run(**changes: object) -> list[RunResult]:
    return [run("dense", 0, 0.4), dataclasses.replace(run("shared", 0, 0.5), **changes)]


def test_a_fair_race_says_what_was_checked() -> None:
    checks = fairness_checks(FAIR, race().sweep)
    assert all(check.held for check in checks)
    assert {"data order", "data", "settings", "seeds", "FLOPs", "tuning"} <= {
        check.name for check in checks
    }


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"num_steps": 99}, "tokens"),
        ({"tokens": 99}, "tokens seen"),
        ({"data": {"facts": "other"}}, "data"),
        ({"settings": "other"}, "settings"),
        ({"data_order": "other"}, "data order"),
        ({"curve": (Point(step=1, tokens=1, seconds=1, metrics={}),)}, "points"),
    ],
)
def test_a_violation_is_caught_and_named(changes: dict[str, object], name: str) -> None:
    with pytest.raises(FairnessError, match=f"^the race is not fair: {name}: runs/shared/seed0"):
        check_runs(with_run(**changes))


def test_seeds_may_have_orders_of_their_own() -> None:
    other = dataclasses.replace(run("dense", 1, 0.4), data_order="another")
    check_runs([run("dense", 0, 0.4), other])


def test_a_diverged_run_is_compared_by_what_it_was_given() -> None:
    check_runs([run("dense", 0, 0.4), diverged(run("shared", 0, 0.5))])
    with pytest.raises(FairnessError, match="data"):
        check_runs([run("dense", 0, 0.4), diverged(with_run(data={})[1])])


def test_designs_whose_flops_drifted_apart_are_caught() -> None:
    drifted = design("shared", [0.6, 0.7], ratio=1.02)
    with pytest.raises(FairnessError, match=r"FLOPs: shared has 1\.020x those of dense"):
        fairness_checks([FAIR[0], drifted], ())
    on_purpose = dataclasses.replace(drifted, entry="as is")
    checks = fairness_checks([FAIR[0], on_purpose], ())
    assert "on purpose not matched: shared 1.020x" in " ".join(check.detail for check in checks)


def test_missing_seeds_and_unequal_tuning_are_caught() -> None:
    with pytest.raises(FairnessError, match=r"seeds: shared ran \[0\]"):
        fairness_checks([FAIR[0], design("shared", [0.6])], ())
    choice = race().sweep[0]
    fewer = dataclasses.replace(choice, group="other", runs=choice.runs[:1])
    with pytest.raises(FairnessError, match="tuning: runs differ: dense 3, other 1"):
        fairness_checks(FAIR, (choice, fewer))
