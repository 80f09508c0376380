import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.train.tally import Tally, sum_interval

ANSWERS = st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=1, max_size=40)


def tally(answers):
    values, documents = (np.array(column) for column in zip(*answers, strict=True))
    return Tally.of(values.astype(float), documents)


@given(answers=ANSWERS)
def test_the_mean_is_that_of_the_answers(answers):
    found = tally(answers)
    assert found.mean == pytest.approx(np.mean([value for value, _ in answers]), abs=1e-9)
    assert found.count == len(answers)
    assert found.documents == len({document for _, document in answers})


@given(answers=ANSWERS, cut=st.integers(0, 7))
def test_tallies_of_different_documents_add_up(answers, cut):
    parts = [[a for a in answers if (a[1] < cut) == side] for side in (True, False)]
    whole = sum((tally(part) for part in parts if part), Tally.empty())
    assert whole.moments == pytest.approx(tally(answers).moments, abs=1e-9)


def test_no_answers_have_no_mean_and_no_interval():
    empty = Tally.empty()
    assert all(math.isnan(x) for x in (empty.mean, *empty.interval(), *empty.share_interval()))
    assert all(math.isnan(end) for end in tally([(1.0, 0), (2.0, 0)]).interval())


def test_wilsons_interval_of_independent_answers():
    """8 of 10: the published example, 0.490 to 0.943 without continuity correction."""
    low, high = tally([(float(i < 8), i) for i in range(10)]).share_interval()
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_documents_that_agree_within_widen_the_interval():
    answers = np.repeat(np.arange(100) % 2, 8).astype(float)
    together = Tally.of(answers, np.repeat(np.arange(100), 8))
    alone = Tally.of(np.arange(100) % 2 * 1.0, np.arange(100))
    assert together.share_interval() == pytest.approx(alone.share_interval())


def test_all_right_counts_each_document_once():
    together = Tally.of(np.ones(800), np.repeat(np.arange(100), 8))
    low, high = together.share_interval()
    assert high == pytest.approx(1)
    assert low == pytest.approx(100 / (100 + 1.959964**2), abs=1e-4)


@given(right=st.integers(0, 30), wrong=st.integers(0, 30))
def test_a_share_stays_between_0_and_1_and_in_its_interval(right, wrong):
    if right + wrong == 0:
        return
    answers = [(1.0, i) for i in range(right)] + [(0.0, 100 + i) for i in range(wrong)]
    found = tally(answers)
    low, high = found.share_interval()
    assert 0 <= low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= high <= 1


def test_students_interval_of_independent_answers():
    from scipy import stats

    values = np.random.default_rng(0).normal(size=12)
    expected = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / 12**0.5)
    assert Tally.of(values, np.arange(12)).interval() == pytest.approx(expected)


def test_intervals_hold_the_truth_about_95_times_in_100():
    """Documents of different lengths, whose answers hang together."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        sizes = rng.integers(1, 9, size=60)
        level = rng.normal(size=60)
        values = np.repeat(level, sizes) + rng.normal(size=sizes.sum())
        low, high = Tally.of(values, np.repeat(np.arange(60), sizes)).interval()
        hits += low <= 0 <= high
    assert 920 <= hits <= 970


def test_independent_means_add_up():
    rng = np.random.default_rng(1)
    one, two = (Tally.of(rng.normal(size=500), np.arange(500)) for _ in range(2))
    low, high = sum_interval([one, two], [0.5, 0.5])
    assert (low + high) / 2 == pytest.approx((one.mean + two.mean) / 2)
    assert high - low == pytest.approx(2 * 1.96 * (0.5 / 500) ** 0.5, rel=0.1)
