"""recall, copy and memorization: what is asked can be answered, and from the right place only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.errors import DataError
from archspec.spec.data.copy import CopySource
from archspec.spec.data.memorization import MemorizationSource
from archspec.spec.data.recall import RecallSource
from archspec.train.data.choose import distinct, scattered
from archspec.train.data.copy import Copy
from archspec.train.data.memorization import Memorization
from archspec.train.data.recall import Recall
from archspec.train.data.stream import random_words
from archspec.train.vocabulary import ANSWER, FIRST_ENTITY, PAD

KINDS = {RecallSource: Recall, CopySource: Copy, MemorizationSource: Memorization}
SOURCES = [
    RecallSource(task="recall", num_pairs=4, noise=3),
    CopySource(task="copy"),
    MemorizationSource(task="memorization"),
]


def opened(source, *, vocab_size=1024, seq_len=64, max_asked=100):
    return KINDS[type(source)](source, vocab_size=vocab_size, seq_len=seq_len, max_asked=max_asked)


def split(rows, size):
    """Documents and what is asked in them, both [documents, size]."""
    per_row = rows.token_ids.shape[1] // size
    tokens, asked = (
        each[:, : per_row * size].reshape(-1, size) for each in (rows.token_ids, rows.counted)
    )
    real = tokens[:, 0] != PAD
    return tokens[real], asked[real]


recalls = st.builds(
    lambda pairs, queries, keys, values, noise: RecallSource(
        task="recall",
        num_pairs=pairs,
        num_queries=min(queries, pairs),
        num_keys=pairs + keys,
        num_values=values,
        noise=noise,
    ),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 20),
    st.integers(1, 30),
    st.integers(0, 12),
)


@settings(max_examples=40, deadline=None)
@given(source=recalls)
def test_recall_is_answered_by_the_one_earlier_place_of_the_key(source):
    task = opened(source, seq_len=source.size + 3)
    documents, asked = split(task.training_rows(0, 20, seed=0), source.size)
    assert asked.sum(1).tolist() == [source.num_asked] * len(documents)
    for tokens, marks in zip(documents, asked, strict=True):
        queried = tokens[marks]
        assert len(set(queried)) == source.num_asked
        for place in np.flatnonzero(marks):
            (earlier,) = np.flatnonzero(tokens[:place] == tokens[place])
            assert tokens[earlier + 1] == tokens[place + 1]
            assert tokens[place + 1] in task.choices


def test_recall_has_nothing_that_weights_could_hold():
    task = opened(RecallSource(task="recall", num_pairs=2, num_keys=4, num_values=4), seq_len=8)
    documents, asked = split(task.training_rows(0, 20_000, seed=0), 8)
    places = np.nonzero(asked)
    keys, values = documents[places], documents[places[0], places[1] + 1]
    table = np.zeros((4, 4))
    np.add.at(table, (keys - FIRST_ENTITY, values - task.choices.start), 1)
    assert (abs(table / table.sum() - 1 / 16) < 0.005).all()


@settings(max_examples=30, deadline=None)
@given(copied=st.integers(1, 12), noise=st.integers(0, 12), symbols=st.integers(1, 20))
def test_copies_are_the_symbols_in_order(copied, noise, symbols):
    source = CopySource(task="copy", num_copied=copied, noise=noise, num_symbols=symbols)
    task = opened(source, seq_len=source.size)
    documents, asked = split(task.training_rows(0, 20, seed=0), source.size)
    for tokens, marks in zip(documents, asked, strict=True):
        (mark,) = np.flatnonzero(tokens == ANSWER)
        shown = [token for token in tokens[:mark] if token in task.choices]
        assert shown == tokens[mark + 1 :].tolist()
        assert np.flatnonzero(marks).tolist() == list(range(mark, source.size - 1))


def test_what_is_copied_stands_anywhere():
    source = CopySource(task="copy", num_copied=2, noise=3)
    task = opened(source, seq_len=source.size)
    documents, _ = split(task.training_rows(0, 4000, seed=0), source.size)
    places = np.isin(documents[:, :5], list(task.choices)).mean(0)
    assert places == pytest.approx([0.4] * 5, abs=0.04)


def test_memorization_has_one_value_a_key_and_asks_each_once():
    source = MemorizationSource(task="memorization", num_keys=100, num_values=10)
    task = opened(source)
    documents, _ = split(task.training_rows(0, 500, seed=0), 2)
    assert {tuple(pair) for pair in documents} == {tuple(pair) for pair in task.world}
    assert len(set(task.world[:, 0])) == 100
    asked, marks = split(task.evaluation(), 2)
    assert sorted(map(tuple, asked)) == sorted(map(tuple, task.world))
    assert marks.tolist() == [[True, False]] * 100
    other = opened(source.model_copy(update={"seed": 1}))
    assert (other.world[:, 1] != task.world[:, 1]).any()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.task)
class TestEvery:
    def test_rows_depend_on_the_seed_and_their_number(self, source):
        task = opened(source)
        whole = task.training_rows(0, 12, seed=3)
        part = opened(source).training_rows(5, 4, seed=3)
        assert (part.token_ids == whole.token_ids[5:9]).all()
        assert (task.training_rows(0, 12, seed=4).token_ids != whole.token_ids).any()

    def test_questions_are_the_same_in_every_call_and_not_those_of_training(self, source):
        task = opened(source)
        once, again = task.evaluation(), opened(source, vocab_size=2000).evaluation()
        assert (once.token_ids == again.token_ids).all()
        assert (once.counted == again.counted).all()
        for seed in range(3):
            trained = task.training_rows(0, len(once), seed=seed)
            assert (trained.token_ids[: len(once)] != once.token_ids).any()

    def test_density_is_the_share_that_counts(self, source):
        task = opened(source)
        assert task.training_rows(0, 4, seed=0).counted.mean() == task.density

    def test_only_choices_are_asked_for(self, source):
        task = opened(source)
        rows = task.evaluation()
        assert np.isin(rows.targets[rows.counted], list(task.choices)).all()
        assert len(task.choices) == source.num_choices
        assert 0 < rows.counted.sum() <= 100

    def test_documents_are_alone(self, source):
        rows = opened(source).training_rows(0, 1, seed=0)
        starts = np.flatnonzero(np.diff(rows.documents[0])) + 1
        assert (np.diff(starts) == starts[0]).all()
        assert not rows.counted[0, starts - 1].any()

    def test_a_small_vocabulary_is_refused_with_the_number_it_needs(self, source):
        opened(source, vocab_size=1024)
        needed = int(opened(source).evaluation().token_ids.max()) + 1
        with pytest.raises(DataError, match=r"vocab_size >= \d+ must hold.*num_\w+=\d+"):
            opened(source, vocab_size=needed - 1)


@given(bound=st.integers(1, 40), seed=st.integers(0, 9), data=st.data())
def test_distinct_numbers_are_distinct(bound, seed, data):
    count = data.draw(st.integers(0, bound))
    chosen = distinct(random_words(seed, "test", 0, 30 * count).reshape(30, count), bound)
    assert all(len(set(row)) == count for row in chosen)
    assert chosen.size == 0 or (chosen.min() >= 0 and chosen.max() < bound)


def test_every_order_is_as_likely():
    chosen = distinct(random_words(0, "test", 0, 24_000).reshape(12_000, 2), 4)
    _, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(counts) == 12
    assert abs(counts - 1000).max() < 160  # five standard deviations


def test_scattered_places_rise():
    places = scattered(random_words(0, "test", 0, 700).reshape(100, 7), 3)
    assert (np.diff(places, axis=1) > 0).all()
    assert set(places.flat) == set(range(7))
