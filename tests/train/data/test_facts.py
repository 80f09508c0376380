import numpy as np
import pytest

from archspec.errors import DataError
from archspec.spec.data.facts import FactsSource
from archspec.train.data.facts import Facts
from archspec.train.data.stream import random_words
from archspec.train.vocabulary import FIRST_ENTITY, PAD

SOURCE = FactsSource(task="facts", num_facts=1000, num_objects=50, num_relations=8)


def world(source=SOURCE, *, vocab_size=1024, seq_len=16, max_asked=4096):
    return Facts(source, vocab_size=vocab_size, seq_len=seq_len, max_asked=max_asked)


def train_rows(facts, count):
    words = random_words(0, "test", 0, count * facts.words_per_row)
    return facts.rows(words.reshape(count, facts.words_per_row))


def test_every_question_has_one_answer():
    facts = world().world
    assert facts.shape == (1000, 4)
    assert len({tuple(fact[:3]) for fact in facts}) == 1000


def test_names_relations_and_objects_have_tokens_of_their_own():
    first, second, relation, answer = (set(column) for column in world().world.T)
    assert not first & second
    assert not (first | second) & relation
    assert not (first | second | relation) & answer
    assert min(answer) == FIRST_ENTITY
    assert max(answer) == FIRST_ENTITY + 49
    assert len(relation) == 8


def test_no_part_of_a_question_tells_the_answer():
    facts = world(FactsSource(task="facts", num_facts=20_000, num_objects=10)).world
    for column in range(3):
        for token in set(facts[:, column]):
            answers = facts[facts[:, column] == token, 3]
            assert np.bincount(answers - FIRST_ENTITY, minlength=10).max() < 0.25 * len(answers)


def test_the_world_depends_on_its_document_alone():
    assert (world().world == world(vocab_size=500, seq_len=32, max_asked=3).world).all()
    other = world(SOURCE.model_copy(update={"seed": 1}))
    assert (world().world != other.world).any()
    assert world().sha256 == world(vocab_size=500).sha256 != other.sha256


def test_tens_of_thousands_of_facts_fit_a_small_vocabulary():
    source = FactsSource(task="facts", num_facts=50_000, num_objects=256)
    assert world(source).world.max() < 1024


def test_only_the_object_counts():
    facts = world(seq_len=18)
    rows = train_rows(facts, 5)
    assert rows.token_ids.shape == (5, 18)
    assert rows.counted.sum() == 5 * 4
    assert np.isin(rows.targets[rows.counted], list(facts.choices)).all()
    assert (rows.token_ids[:, 16:] == PAD).all()
    assert facts.density == pytest.approx(4 / 18)


def test_targets_are_the_next_tokens():
    rows = train_rows(world(), 3)
    assert (rows.token_ids[:, 1:] == rows.targets[:, :-1]).all()


def test_a_fact_is_a_document():
    rows = train_rows(world(), 1)
    assert rows.documents[0].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_training_draws_every_fact_about_as_often():
    facts = world(FactsSource(task="facts", num_facts=20, num_objects=5))
    rows = train_rows(facts, 10_000)
    drawn = rows.token_ids.reshape(-1, 4)
    seen, counts = np.unique(drawn[:, :3], axis=0, return_counts=True)
    assert len(seen) == 20
    assert abs(counts - 2000).max() < 200


def test_evaluation_asks_each_fact_once():
    facts = world()
    rows = facts.evaluation()
    asked = rows.token_ids.reshape(-1, 4)[rows.counted.reshape(-1, 4)[:, 2]]
    assert sorted(map(tuple, asked)) == sorted(map(tuple, facts.world))


@pytest.mark.parametrize("most", [1, 7, 999])
def test_evaluation_asks_at_most_so_many(most):
    rows = world(max_asked=most).evaluation()
    assert rows.counted.sum() == most


def test_a_vocabulary_that_is_too_small_is_refused():
    # 125 subjects need 12 tokens for each half of their names.
    needed = 272 + 50 + 8 + 24
    world(vocab_size=needed)
    with pytest.raises(DataError, match=f"vocab_size >= {needed} .*num_facts=1000.*{needed - 1}"):
        world(vocab_size=needed - 1)
