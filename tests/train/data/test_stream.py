import numpy as np

from archspec.train.data.stream import below, permutation, random_words, words_from

# Written down once: a change here changes every run that anybody has started.
FROZEN = [16820372479749216137, 4665137256404803269, 14047861003664178710]


def test_words_are_the_same_forever():
    assert random_words(0, "data/facts", 7, 3).tolist() == FROZEN


def test_words_differ_by_seed_name_and_counter():
    drawn = [
        tuple(random_words(seed, name, counter, 4))
        for seed in (0, 1)
        for name in ("a", "b")
        for counter in (0, 1, 2)
    ]
    assert len({word for words in drawn for word in words}) == 48


def test_a_longer_draw_starts_with_the_shorter():
    assert (random_words(0, "a", 1, 10)[:4] == random_words(0, "a", 1, 4)).all()


def test_numbers_below_a_bound_are_uniform():
    numbers = below(random_words(0, "a", 0, 60_000), 6)
    counts = np.bincount(numbers, minlength=6)
    assert len(counts) == 6
    assert abs(counts - 10_000).max() < 400  # four standard deviations of 91


def test_a_permutation_holds_every_number_once():
    assert sorted(permutation(3, "a", 100)) == list(range(100))


def test_a_sequence_can_be_read_from_anywhere():
    whole = words_from(0, "a", 0, 40)
    assert (whole == random_words(0, "a", 0, 40)).all()
    for first in range(20):
        assert (words_from(0, "a", first, 9) == whole[first : first + 9]).all()
