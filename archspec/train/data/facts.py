"""A world of facts to memorise: a subject and a relation have one object.

A fact is four entity tokens: two that name the subject, the relation, the object. The two halves of
a subject's name and the relation each come from tokens of their own; only all three together tell
the object, which is drawn at random, so the only way to know it is to have stored it. Facts are
documents of their own: none of them sees the others of its row.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from archspec.spec.data.facts import FactsSource
from archspec.train.data.source import DrawnSource, Rows
from archspec.train.data.stream import Integers, Words, below, permutation, random_words
from archspec.train.vocabulary import FIRST_ENTITY, PAD, check_vocabulary

FACT = FactsSource.TOKENS_PER_FACT


class Facts(DrawnSource):
    """The facts of one world; they depend on its document alone, not on the model.

    Attributes:
        world: [num_facts, 4], the tokens of every fact.

    Raises:
        DataError: The model has too few tokens.
    """

    def __init__(
        self, source: FactsSource, *, vocab_size: int, seq_len: int, max_asked: int
    ) -> None:
        _check_tokens(source, vocab_size)
        self.name = source.name
        self.world = _draw_world(source)
        self.choices = range(FIRST_ENTITY, FIRST_ENTITY + source.num_objects)
        self.sha256 = hashlib.sha256(self.world.astype("<i8").tobytes()).hexdigest()
        self.words_per_row = seq_len // FACT
        self.density = self.words_per_row / seq_len
        self._seq_len = seq_len
        order = permutation(source.seed, "facts/asked", source.num_facts)
        self._asked = order[:max_asked]

    def rows(self, words: Words) -> Rows:
        """Fill rows with facts drawn uniformly, with repetition."""
        return self._pack(self.world[below(words, len(self.world))])

    def evaluation(self) -> Rows:
        """Ask facts of the world, each once."""
        per_row = self.words_per_row
        count = math.ceil(len(self._asked) / per_row)
        facts = np.full((count * per_row, FACT), PAD, dtype=np.int64)
        facts[: len(self._asked)] = self.world[self._asked]
        return self._pack(facts.reshape(count, per_row, FACT))

    def _pack(self, facts: Integers) -> Rows:
        """Lay facts, [rows, facts, 4], into rows; what does not fill a fact is padding."""
        count = len(facts)
        token_ids = np.full((count, self._seq_len + 1), PAD, dtype=np.int64)
        used = facts.shape[1] * FACT
        token_ids[:, :used] = facts.reshape(count, used)
        position = np.arange(self._seq_len)
        asked = (position % FACT == FACT - 2) & (position < used)  # the relation, before the object
        counted = asked & (token_ids[:, 1:] != PAD)
        documents = np.tile(position // FACT, (count, 1))
        return Rows(token_ids[:, :-1], token_ids[:, 1:], counted, documents)


def _name_tokens(source: FactsSource) -> int:
    """Count the tokens of one half of a name: enough that the pairs name every subject."""
    subjects = math.ceil(source.num_facts / source.num_relations)
    root = math.isqrt(subjects)
    return root if root * root == subjects else root + 1


def _check_tokens(source: FactsSource, vocab_size: int) -> None:
    names = 2 * _name_tokens(source)
    check_vocabulary(
        vocab_size,
        num_entities=source.num_objects + source.num_relations + names,
        what=f"num_objects={source.num_objects}, num_relations={source.num_relations} and {names} "
        f"to name the subjects of num_facts={source.num_facts}",
    )


def _draw_world(source: FactsSource) -> Integers:
    """Return the tokens of every fact, [num_facts, 4]."""
    side, relations = _name_tokens(source), source.num_relations
    fact = np.arange(source.num_facts)
    name = permutation(source.seed, "facts/subjects", side * side)[fact // relations]
    objects = below(random_words(source.seed, "facts/objects", 0, len(fact)), source.num_objects)
    first_relation = FIRST_ENTITY + source.num_objects
    first_name = first_relation + relations
    return np.stack(
        [
            first_name + name // side,
            first_name + side + name % side,
            first_relation + fact % relations,
            FIRST_ENTITY + objects,
        ],
        axis=1,
    )
