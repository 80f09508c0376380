"""Facts in words: what is trained on, what is asked, and what is held out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.errors import DataError
from archspec.spec.data.facts import BUCKETS, WORDINGS, FactsSource
from archspec.train.data.facts import Facts
from archspec.train.data.source import LOSS, MAIN
from archspec.train.vocabulary import FIRST_ENTITY, PAD, WORDS

BY_TOKEN = {token: word for word, token in WORDS.items()}


def source(**changes):
    values = {"num_facts": 240, "num_objects": 12, "form": "sentences"}
    return FactsSource(task="facts", **(values | changes))


def world(given_source, *, seq_len=30, max_asked=4096):
    return Facts(given_source, vocab_size=1024, seq_len=seq_len, max_asked=max_asked)


def documents(facts, rows):
    """The facts of rows, [facts, tokens_per_fact], without padding."""
    size = facts._source.tokens_per_fact
    per_row = rows.token_ids.shape[1] // size
    found = rows.token_ids[:, : per_row * size].reshape(-1, size)
    return found[found[:, 0] != PAD]


def read(facts, document):
    """The fact and the wording of a document."""
    (relation,) = [t for t in document if t in set(facts.world[:, 2])]
    subject = tuple(t for t in document if t in set(facts.world[:, :2].flat))
    form = " ".join(BY_TOKEN.get(t, "R" if t == relation else "S") for t in document[:-1]) + " O"
    known = {tuple(fact[:3]): index for index, fact in enumerate(facts.world)}
    return known[(*subject, relation)], form.replace("S S", "S")


def test_sentences_read_as_the_wordings_say():
    facts = world(source())
    seen = set()
    for document in documents(facts, facts.training_rows(0, 200, seed=0)):
        fact, form = read(facts, document)
        assert document[-1] == facts.world[fact, 3]
        seen.add(form)
    assert seen == set(WORDINGS)


def test_every_wording_is_as_long_and_ends_with_the_object():
    assert len({len(wording.split()) for wording in WORDINGS}) == 1
    assert len(set(WORDINGS)) == len(WORDINGS)
    for wording in WORDINGS:
        assert wording.split().count("S") == wording.split().count("R") == 1
        assert wording.endswith(" O")


@pytest.mark.parametrize("held_out", range(1, len(WORDINGS) - 1))
def test_wordings_held_out_are_never_trained_on_and_have_no_new_words(held_out):
    facts = world(source(held_out_wordings=held_out))
    trained = {read(facts, d)[1] for d in documents(facts, facts.training_rows(0, 300, seed=0))}
    assert trained == set(WORDINGS[:-held_out])
    words = set(" ".join(WORDINGS[:-held_out]).split())
    assert set(" ".join(WORDINGS).split()) == words


def test_what_is_asked_in_a_wording_held_out_is_seen_in_others():
    facts = world(source(held_out_wordings=2))
    seen = {read(facts, d)[0] for d in documents(facts, facts.training_rows(0, 2000, seed=0))}
    asked = [read(facts, d) for d in documents(facts, facts.evaluation())]
    assert sorted(fact for fact, form in asked if form in WORDINGS[-2:]) == list(range(240))
    assert sorted(fact for fact, form in asked if form in WORDINGS[:-2]) == list(range(240))
    assert {fact for fact, _ in asked} <= seen


@settings(max_examples=30, deadline=None)
@given(
    held_out=st.integers(0, 6),
    skew=st.sampled_from([0.0, 1.0]),
    counted=st.sampled_from(["objects", "all"]),
    asked=st.integers(3, 300),
    seq_len=st.integers(7, 40),
)
def test_parts_divide_the_questions(held_out, skew, counted, asked, seq_len):
    facts = world(
        source(held_out_wordings=held_out, skew=skew, counted=counted),
        seq_len=seq_len,
        max_asked=asked,
    )
    rows, parts = facts.evaluation(), facts.parts()
    assert set(parts) == {MAIN, LOSS, *facts._source.parts}
    number = min(asked, 240)
    assert parts[MAIN].sum() == number
    assert np.isin(rows.targets[parts[MAIN]], list(facts.choices)).all()
    assert not (parts[MAIN] & ~rows.counted).any()
    assert parts[LOSS].sum() == number * (1 if counted == "objects" else 6)
    if held_out:
        assert parts["held_out"].sum() == number
        assert not (parts["held_out"] & (parts[MAIN] | parts[LOSS])).any()
        assert (rows.counted == (parts["held_out"] | parts[LOSS])).mean() > 0.5
    if skew:
        counts = [parts[name].sum() for name in BUCKETS]
        assert (sum(parts[name].astype(int) for name in BUCKETS) == parts[MAIN]).all()
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("form", ["triples", "sentences"])
@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_facts_are_seen_as_often_as_expected(form, skew):
    facts = world(source(num_facts=30, form=form, skew=skew))
    rows = facts.training_rows(0, 20_000, seed=1)
    keys = {tuple(sorted(fact[:3])): index for index, fact in enumerate(facts.world)}
    entities = documents(facts, rows)[:, :-1]
    named = np.sort(entities[entities >= FIRST_ENTITY].reshape(len(entities), 3), axis=1)
    which, counts = np.unique(named, axis=0, return_counts=True)
    found = np.zeros(30)
    for key, count in zip(which, counts, strict=True):
        found[keys[tuple(key)]] = count
    expected = facts.expected_counts(20_000)
    assert expected.sum() == pytest.approx(len(entities))
    assert (abs(found - expected) < 5 * np.sqrt(expected)).all()


def test_facts_see_each_other_only_where_asked_and_only_in_training():
    alone, packed = world(source()), world(source(packed_context=True))
    rows = [facts.training_rows(0, 4, seed=0) for facts in (alone, packed)]
    assert (rows[0].token_ids == rows[1].token_ids).all()
    assert len(set(rows[0].documents[0])) == 5  # four facts, and padding
    assert set(rows[1].documents.flat) == {0}
    assert (packed.evaluation().documents == alone.evaluation().documents).all()


def test_the_loss_may_count_all_tokens_of_a_fact():
    facts = world(source(counted="all"))
    rows = facts.training_rows(0, 3, seed=0)
    assert facts.density == pytest.approx(4 * 6 / 30)
    assert rows.counted.sum() == 3 * 4 * 6
    ends = rows.documents[:, 1:] != rows.documents[:, :-1]
    assert not rows.counted[:, :-1][ends].any()  # the next fact cannot be foreseen


def test_what_is_asked_does_not_depend_on_the_model():
    one, other = (
        world(source(skew=1.0)),
        Facts(source(skew=1.0), vocab_size=700, seq_len=30, max_asked=4096),
    )
    assert one.sha256 == other.sha256
    assert (one.evaluation().token_ids == other.evaluation().token_ids).all()


def test_hashes_tell_worlds_apart():
    changes = [{}, {"form": "triples"}, {"skew": 1.0}, {"wordings": 3}, {"seed": 1}]
    assert len({world(source(**change)).sha256 for change in changes}) == len(changes)


def test_too_few_questions_for_every_bucket_are_refused():
    with pytest.raises(DataError, match=r"evaluation.facts >= 3 must hold.*evaluation.facts=2"):
        world(source(skew=1.0), max_asked=2)
