import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from archspec.train.data.shares import Owners, sum_of_floors

WEIGHTS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5)


@given(
    count=st.integers(0, 50),
    divisor=st.integers(1, 60),
    slope=st.integers(0, 200),
    start=st.integers(-200, 200),
)
def test_floors_are_summed(count, divisor, slope, start):
    expected = sum((slope * i + start) // divisor for i in range(count))
    assert sum_of_floors(count, divisor, slope, start) == expected


@given(weights=WEIGHTS, seed=st.integers(0, 99), rows=st.integers(0, 400))
def test_rows_of_a_source_are_counted_without_listing_them(weights, seed, rows):
    owners = Owners(weights, seed=seed)
    counts = np.bincount(owners.of(0, rows), minlength=len(weights))
    assert [owners.count(source, rows) for source in range(len(weights))] == counts.tolist()


@given(weights=WEIGHTS, start=st.integers(0, 2**48), rows=st.integers(0, 100))
def test_counts_hold_far_into_a_run(weights, start, rows):
    owners = Owners(weights, seed=0)
    counts = np.bincount(owners.of(start, start + rows), minlength=len(weights))
    more = [owners.count(k, start + rows) - owners.count(k, start) for k in range(len(weights))]
    assert more == counts.tolist()


@given(weights=WEIGHTS)
def test_shares_are_kept(weights):
    owners = Owners(weights, seed=1)
    for source, share in enumerate(owners.shares):
        assert abs(owners.count(source, 10**6) / 10**6 - share) < 1e-4
