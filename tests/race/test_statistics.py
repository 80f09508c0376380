import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from archspec.race.results import load_results, to_json
from archspec.race.statistics import (
    compare,
    crossing_of,
    holm,
    mean,
    paired_p,
    reach,
    summarize_race,
)
from archspec.testing.race import METRIC, design, diverged, race, results, run

values = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


@given(values)
def test_intervals_are_those_of_scipy(sample):
    assume(np.std(sample) > 1e-6)
    found = mean(sample)
    expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.margin == pytest.approx((expected.high - expected.low) / 2, abs=1e-9)


@given(values)
def test_p_is_that_of_scipy(sample):
    assume(np.std(sample) > 1e-6)
    assert paired_p(sample) == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, rel=1e-6)


def test_p_where_there_is_no_spread_or_one_value():
    assert paired_p([0.5, 0.5, 0.5]) == 0
    assert paired_p([0.0, 0.0]) == 1
    assert paired_p([0.5]) is None
    assert mean([0.5]).margin is None


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx((0.03, None, 0.06, 0.06))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_keeps_the_order_and_never_lowers(ps):
    corrected = holm(ps)
    for p, higher in zip(ps, corrected, strict=True):
        assert p <= higher <= 1
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    ranked = [corrected[index] for index in order]
    assert ranked == sorted(ranked)


def test_compare_corrects_for_as_many_as_there_are():
    first, nothing, second = compare([[0.1, 0.2, 0.3], [], [0.5, 0.5, 0.6]])
    assert nothing is None
    assert first.p_holm == first.p
    assert second.p_holm == pytest.approx(2 * second.p)


def test_crossing_interpolates_between_evaluations():
    crossing = crossing_of(run("a", 0, 1.0), METRIC, 0.25)
    assert crossing.tokens == pytest.approx(25_000)
    assert crossing.seconds == pytest.approx(2.5)
    assert not crossing.is_first


def test_crossing_of_a_loss_goes_down():
    assert crossing_of(run("a", 0, 1.0), "loss", 2.75).tokens == pytest.approx(25_000)
    assert crossing_of(run("a", 0, 1.0), "loss", 1.5) is None


def test_crossing_before_the_first_evaluation_is_a_bound():
    crossing = crossing_of(run("a", 0, 1.0), METRIC, 0.05)
    assert crossing.is_first
    assert crossing.tokens == 10_000


def test_a_curve_that_falls_back_has_not_reached():
    result = run("a", 0, 1.0)
    curve = list(result.curve)
    curve[7] = dataclasses.replace(curve[7], metrics={METRIC: 0.1, "loss": 3})
    dipped = dataclasses.replace(result, curve=tuple(curve))
    assert crossing_of(dipped, METRIC, 0.3).tokens > 80_000
    assert crossing_of(result, METRIC, 0.3).tokens == pytest.approx(30_000)


def test_reach_is_paired_by_seed():
    reference = design("dense", [0.4, 0.5])
    found = reach(reference, design("better", [0.8, 0.4]), METRIC)
    assert (found.reached, found.count) == (1, 2)
    assert found.tokens.value == pytest.approx(50_000)
    assert found.share.value == pytest.approx(0.5)
    assert found.flops.value == pytest.approx(50_000 * 1_200_000)


def test_a_diverged_run_loses_and_is_counted():
    better = design("better", [0.8, 0.9])
    better = dataclasses.replace(better, runs=(better.runs[0], diverged(better.runs[1])))
    summary = summarize_race(results(design("dense", [0.4, 0.5]), better))[1]
    assert summary.diverged == 1
    assert summary.metrics[METRIC].count == 1
    assert summary.differences[METRIC].p is None
    assert (summary.reach.reached, summary.reach.count) == (1, 2)


def test_nothing_is_compared_where_all_diverged():
    worse = design("worse", [0.8, 0.9])
    worse = dataclasses.replace(worse, runs=tuple(diverged(run) for run in worse.runs))
    summary = summarize_race(results(design("dense", [0.4, 0.5]), worse))[1]
    assert not summary.metrics
    assert not summary.differences
    assert summary.reach.tokens is None
    other_way = summarize_race(results(worse, design("dense", [0.4, 0.5])))[1]
    assert not other_way.differences
    assert other_way.reach is None


def test_results_are_read_back_as_they_were_written(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(to_json(race()))
    assert load_results(path) == race()
