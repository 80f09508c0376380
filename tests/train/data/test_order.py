import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.train.data.order import ROUNDS, EpochOrder, permute
from archspec.train.data.stream import random_words


def order(size, slack=0):
    return EpochOrder("books", size=size, slack=slack)


@given(size=st.integers(1, 2000), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_every_window_once_an_epoch(size, seed, epoch):
    windows, _ = order(size).windows(epoch * size, size, seed=seed)
    assert sorted(windows.tolist()) == list(range(size))


@settings(deadline=None)
@given(
    size=st.integers(1, 300),
    first=st.integers(0, 2000),
    count=st.integers(1, 100),
    cut=st.integers(0, 100),
)
def test_a_part_of_the_order_is_that_part(size, first, count, cut):
    windows, moved = order(size, slack=7).windows(first, count, seed=3)
    start = min(cut, count - 1)
    part, part_moved = order(size, slack=7).windows(first + start, count - start, seed=3)
    assert (part == windows[start:]).all()
    assert (part_moved == moved[start:]).all()


def test_epochs_and_seeds_differ():
    first, second = (order(1000).windows(epoch * 1000, 1000, seed=0)[0] for epoch in (0, 1))
    other = order(1000).windows(0, 1000, seed=1)[0]
    for one, two in ((first, second), (first, other)):
        assert (one == two).mean() < 0.01


def test_order_is_drawn_well():
    """Neighbours end up far apart, and each place is as likely as another."""
    size = 512
    windows = np.stack([order(size).windows(epoch * size, size, seed=0)[0] for epoch in range(400)])
    steps = np.abs(np.diff(windows, axis=1))
    assert abs(steps.mean() - size / 3) < 2
    counts = np.histogram2d(
        np.tile(np.arange(size), 400), windows.ravel(), bins=16, range=[[0, size]] * 2
    )[0]
    # chi-squared over 256 cells, a standard deviation of 22.6 around 255
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 255 + 5 * 22.6


@given(slack=st.integers(0, 50))
def test_windows_of_an_epoch_move_together(slack):
    _, moved = order(10, slack).windows(0, 10 * 20, seed=0)
    epochs = moved.reshape(20, 10)
    assert (epochs == epochs[:, :1]).all()
    assert epochs.min() >= 0
    assert epochs.max() <= slack


def test_a_trillion_windows_need_no_list():
    windows, _ = order(10**12).windows(10**12 - 3, 6, seed=0)
    assert ((windows >= 0) & (windows < 10**12)).all()
    places = np.arange(10**5, dtype=np.uint64)
    spread = permute(places, 10**12, random_words(0, "x", 0, ROUNDS))
    assert len(np.unique(spread)) == 10**5
