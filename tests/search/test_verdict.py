"""Whether the winner beats the hand designs, and the intervals that go with it."""

import numpy as np
import pytest
from scipy import stats

from archspec.search.results import DesignResult, SearchResults, SpaceResult, rank
from archspec.search.verdict import judge, seed_intervals

SPACE = SpaceResult(num_designs=9, num_priced=9, num_feasible=9, num_layers=2, pools={}, legend="")


def design(trial: int, source: str, value: float, *reruns: float, gone: int = 0) -> DesignResult:
    return DesignResult(
        trial=trial, placement="F F", pools="", source=source, spec_hash=f"hash{trial}",
        value=value, reruns=reruns, diverged_reruns=gone, metrics={}, prices={}, seconds=1.0,
    )  # fmt: skip


def results(*designs: DesignResult, direction: str = "minimize") -> SearchResults:
    return SearchResults.model_validate(
        {
            "name": "a", "metric": "loss", "direction": direction, "sampler": "milp",
            "trials": 9, "space": SPACE, "budgets": (), "designs": rank(designs, direction),
            "diverged": (), "exhausted": False, "uniform_dense": None, "seconds": 1.0,
        }
    )  # fmt: skip


def test_with_one_hand_design_it_is_the_paired_t_test() -> None:
    ours, theirs = [1.0, 1.2, 1.1], [1.5, 1.8, 1.7]
    verdict = judge(results(design(0, "search", 1.0, *ours), design(1, "all ffn", 1.6, *theirs)))
    found = verdict.comparisons[0]
    expected = stats.ttest_rel(theirs, ours).confidence_interval(0.95)
    assert verdict.status == "beats all"
    assert found.gain.value == pytest.approx(np.mean(theirs) - np.mean(ours))
    assert (found.gain.low, found.gain.high) == pytest.approx((expected.low, expected.high))
    assert verdict.freedom == 2


def test_what_a_seed_does_to_all_designs_cancels() -> None:
    hard = 10.0  # the second seed is harder for everybody
    verdict = judge(
        results(
            design(0, "search", 1.0, 1.0, 1.01 + hard),
            design(1, "all ffn", 1.5, 1.5, 1.49 + hard),
            design(2, "search", 2.0, 2.0, 2.01 + hard),
        )
    )
    assert verdict.comparisons[0].is_clear
    assert verdict.freedom == 2


def test_coverage_of_the_pooled_interval() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(800):
        seeds = rng.normal(size=2)
        rows = [mean + seeds + 0.1 * rng.normal(size=2) for mean in (0.0, 0.3, 0.6, 0.9)]
        found = judge(
            results(
                *(design(i, "search", float(i), *map(float, rows[i])) for i in range(3)),
                design(3, "all ffn", 3.0, *map(float, rows[3])),
            )
        ).comparisons[0]
        best = int(np.argmin([row.mean() for row in rows[:3]]))
        assert found.gain.low is not None
        assert found.gain.high is not None
        covered.append(found.gain.low <= 0.9 - 0.3 * best <= found.gain.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_every_status() -> None:
    winner = design(0, "search", 1.0, 1.0, 1.1)
    hand, once = design(1, "all ffn", 2.0, 2.0, 2.1), design(2, "all moe", 3.0)
    assert judge(results(winner, hand)).status == "beats all"
    assert judge(results(winner, hand, once)).status == "some not run again"
    assert judge(results(winner)).status == "no hand"
    assert judge(results(design(0, "search", 1.0), once)).status == "not yet"
    assert judge(results(hand, design(4, "search", 3.0))).status == "hand wins"
    # A hand design that looked worse on its only run cannot be ruled out if it was better there.
    lucky = design(5, "all moe", 0.5)
    assert judge(results(winner, lucky)).status == "not all"


def test_larger_may_be_better() -> None:
    found = judge(
        results(
            design(0, "search", 0.9, 0.9, 0.8),
            design(1, "all ffn", 0.5, 0.5, 0.6),
            direction="maximize",
        )
    )
    assert found.status == "beats all"
    assert found.comparisons[0].gain.value == pytest.approx(0.3)


def test_one_seed_gives_no_interval() -> None:
    verdict = judge(results(design(0, "search", 1.0, 1.0), design(1, "all ffn", 2.0, 2.0)))
    assert verdict.comparisons[0].gain.low is None
    assert not verdict.comparisons[0].is_clear


def test_intervals_over_seeds_pool_the_spread_and_leave_out_what_diverged() -> None:
    designs = (
        design(0, "search", 1.0, 1.0, 1.2),
        design(1, "search", 1.0, 2.0, 2.4),
        design(2, "search", 1.0, 9.0, gone=1),
    )
    found = seed_intervals(designs)
    spread = np.sqrt((0.02 + 0.08) / 2)
    margin = stats.t.ppf(0.975, 2) * spread / np.sqrt(2)
    assert found.keys() == {0, 1}
    assert found[0].high == pytest.approx(1.1 + margin)
    assert found[1].low == pytest.approx(2.2 - margin)
