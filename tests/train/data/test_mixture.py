import numpy as np
import pytest

from archspec.errors import DataError
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.registry import KEYS, TASKS
from archspec.spec.data.text import TextSource
from archspec.train.data.mixture import Mixture
from archspec.train.data.registry import OPENERS

FACTS = FactsSource(task="facts", num_facts=48, num_objects=16, num_relations=4)


def same(left, right):
    return all(
        (getattr(left, name) == getattr(right, name)).all()
        for name in ("token_ids", "targets", "counted", "documents")
    )


def is_fact(rows):
    return ~rows.counted.all(axis=1)


def test_a_batch_depends_on_seed_and_step_alone(spec, settings):
    train = settings()
    forwards = [Mixture(train, spec).batch(step) for step in range(4)]
    mixture = Mixture(train, spec)
    backwards = [mixture.batch(step) for step in reversed(range(4))][::-1]
    assert all(map(same, forwards, backwards))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], Mixture(settings(seed=1), spec).batch(0))


def test_a_part_of_a_batch_is_that_part(spec, settings):
    mixture = Mixture(settings(), spec)
    for step in range(5):
        whole = mixture.batch(step)
        for part in (slice(0, 3), slice(3, 8), slice(7, 8), slice(2, None)):
            assert same(mixture.batch(step, part), whole.take(part))


def test_every_kind_of_source_can_be_opened():
    assert OPENERS.keys() == {*KEYS.values(), *TASKS.values()}


def test_the_model_changes_nothing(spec, settings):
    wide = spec.replace(vocab_size=999, max_seq_len=64)
    assert same(Mixture(settings(), spec).batch(3), Mixture(settings(), wide).batch(3))


@pytest.mark.parametrize("weight", [1.0, 3.0, 0.1])
def test_weights_are_shares_of_tokens(spec, settings, weight):
    train = settings(data=[FACTS, TextSource(text="pydoc", weight=weight)])
    mixture = Mixture(train, spec)
    kinds = np.concatenate([is_fact(mixture.batch(step)) for step in range(100)])
    assert mixture.shares == pytest.approx((1 / (1 + weight), weight / (1 + weight)))
    assert kinds.mean() == pytest.approx(1 / (1 + weight), abs=0.01)


def test_shares_hold_in_every_stretch(spec, settings):
    mixture = Mixture(settings(), spec)  # one row of facts in four, eight rows a batch
    kinds = np.concatenate([is_fact(mixture.batch(step)) for step in range(50)])
    counts = np.convolve(kinds, np.ones(40), mode="valid")
    assert counts.min() >= 7
    assert counts.max() <= 13


def test_batches_have_the_asked_shape(spec, settings):
    rows = Mixture(settings(), spec).batch(0)
    assert rows.token_ids.shape == rows.targets.shape == rows.counted.shape == (8, 16)


def test_hashes_are_those_of_the_data(spec, settings):
    hashes = Mixture(settings(), spec).hashes()
    assert sorted(hashes) == ["facts", "pydoc"]
    assert all(len(digest) == 64 for digest in hashes.values())


def test_a_sequence_longer_than_the_model_takes_is_refused(spec, settings):
    with pytest.raises(DataError, match="seq_len=64 and the model has max_seq_len=32"):
        Mixture(settings(seq_len=64), spec)
