import numpy as np
import pytest

from archspec.errors import DataError
from archspec.spec.data.facts import FactsSource
from archspec.spec.data.registry import KEYS, TASKS
from archspec.spec.data.text import TextSource
from archspec.spec.data.tokens import TokensSource
from archspec.train.data.mixture import Mixture
from archspec.train.data.registry import OPENERS
from archspec.train.data.source import join

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


@pytest.fixture
def files(tmp_path):
    """Two sources of files and facts."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        rng.integers(0, 300, 3000).astype("uint16").tofile(tmp_path / f"{name}.bin")
    (tmp_path / "c.txt").write_text("some text\n" * 200)
    tokens = TokensSource(
        tokens=[str(tmp_path / "a.bin"), str(tmp_path / "b.bin")], dtype="uint16", eos_id=0
    )
    return [tokens, TextSource(text=str(tmp_path / "c.txt"), weight=0.7), FACTS]


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_files_are_read_alike_by_any_number_of_ranks(spec, settings, files, ranks):
    train = settings(data=files)
    whole = [Mixture(train, spec).batch(step) for step in range(30)]
    mixtures = [Mixture(train, spec) for _ in range(ranks)]
    each = 8 // ranks
    for step in (29, 3, 17):
        parts = [
            mixture.batch(step, slice(rank * each, (rank + 1) * each))
            for rank, mixture in enumerate(mixtures)
        ]
        assert same(join(parts), whole[step])


def test_an_epoch_of_a_mixture_has_every_window_once(spec, settings, files):
    train = settings(data=files)
    mixture = Mixture(train, spec)
    text = mixture.sources[1]
    batches = [mixture.batch(step) for step in range(200)]
    whole = join(batches)
    mine = whole.take(np.flatnonzero(whole.counted.all(1) & (whole.token_ids < 128).all(1)))
    rows = text.epoch_tokens // 16
    first = text.training_rows(0, rows, seed=train.seed)
    assert same(mine.take(slice(0, rows)), first)
    assert len(np.unique(first.token_ids, axis=0)) > 1


def test_a_run_that_repeats_its_data_often_says_so(spec, settings, files):
    assert Mixture(settings(data=files), spec).warnings() == ()
    assert Mixture(settings(data=files, tokens=128 * 400), spec).warnings() == (
        "c: the run reads its 1.89 k tokens 7.0 times, and beyond 4 times data teach much less "
        "than new data would; give more of it, or lower its weight",
    )


def test_a_sequence_longer_than_the_model_takes_is_refused(spec, settings):
    with pytest.raises(DataError, match="seq_len=64 and the model has max_seq_len=32"):
        Mixture(settings(seq_len=64), spec)
