import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archspec.train.data.frequency import Frequencies
from archspec.train.data.stream import random_words

SKEWS = st.floats(0.0, 3.0)
SIZES = st.integers(3, 3000)


def frequencies(size, skew):
    return Frequencies(size, skew=skew, seed=0, name="test")


@given(size=SIZES, skew=SKEWS)
def test_probabilities_are_zipfs_and_none_is_zero(size, skew):
    found = frequencies(size, skew)
    weights = (np.arange(size) + 1.0) ** -skew
    assert found.probability.sum() == pytest.approx(1, abs=1e-12)
    assert found.probability.min() > 0
    assert np.sort(found.probability)[::-1] == pytest.approx(weights / weights.sum(), rel=1e-3)


@given(size=SIZES, skew=st.floats(0.1, 3.0), count=st.integers(1, 6))
def test_buckets_part_the_items_from_rare_to_common(size, skew, count):
    found = frequencies(size, skew)
    bucket = found.bucket(count)
    sizes = np.bincount(bucket, minlength=count)
    assert sizes.sum() == size
    assert sizes.max() - sizes.min() <= 1
    for lower in range(count - 1):
        rarer, commoner = (found.probability[bucket == index] for index in (lower, lower + 1))
        assert not len(rarer) or not len(commoner) or rarer.max() <= commoner.min()


@pytest.mark.parametrize("skew", [0.0, 0.7, 1.5])
def test_items_are_drawn_as_often_as_is_said(skew):
    found, draws = frequencies(50, skew), 200_000
    counts = np.bincount(found.draw(random_words(0, "draws", 0, draws)), minlength=50)
    expected = draws * found.probability
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 49 + 5 * (2 * 49) ** 0.5


def test_the_ends_of_the_range_of_words_are_drawn_too():
    found = frequencies(5, 1.0)
    words = np.array([0, 2**64 - 1], dtype=np.uint64)
    assert found.rank[found.draw(words)].tolist() == [0, 4]
