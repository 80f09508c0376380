"""A world of facts to memorise: a subject and a relation have one object.

Two entity tokens name the subject, one the relation and one the object. The two halves of a
subject's name and the relation each come from tokens of their own; only all three together tell the
object, which is drawn at random, so the only way to know it is to have stored it. A fact is a
document of its own, as a bare triple or worded as a statement or a question, with the object last.

Wordings that are never trained on ask facts that were: knowing how a fact was put is not enough
(Allen-Zhu and Li, arXiv 2309.14316, hold out pairs of fact and form; here whole forms are, and none
of their words is new).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archspec.errors import DataError
from archspec.spec.data.facts import BUCKETS, FactsSource
from archspec.train.data.frequency import Frequencies
from archspec.train.data.layout import lay_marks, lay_rows
from archspec.train.data.source import LOSS, MAIN, DrawnSource, Mask, Rows
from archspec.train.data.stream import Integers, Words, below, permutation, random_words
from archspec.train.vocabulary import FIRST_ENTITY, WORDS, check_vocabulary

_SLOTS = {"S": (0, 1), "R": (2,), "O": (3,)}  # columns of the world


class Facts(DrawnSource):
    """The facts of one world; they depend on its document alone, not on the model.

    Attributes:
        world: [num_facts, 4], the tokens of every fact: subject (2), relation, object.
        frequencies: How often each fact is seen.

    Raises:
        DataError: The model has too few tokens.
    """

    choices: range

    def __init__(
        self, source: FactsSource, *, vocab_size: int, seq_len: int, max_asked: int
    ) -> None:
        _check_tokens(source, vocab_size)
        _check_asked(source, max_asked)
        self.name = source.name
        self.world = _draw_world(source)
        self.frequencies = Frequencies(
            source.num_facts, skew=source.skew, seed=source.seed, name="facts/ranks"
        )
        self.choices = range(FIRST_ENTITY, FIRST_ENTITY + source.num_objects)
        self._source = source
        self._wordings = _wording_tokens(source)
        self.sha256 = self._hash()
        self.facts_per_row = seq_len // source.tokens_per_fact
        self._drawn = 1 if source.num_trained_wordings == 1 else 2  # words: the fact, its wording
        self.words_per_row = self.facts_per_row * self._drawn
        counted = 1 if source.counted == "objects" else source.tokens_per_fact - 1
        self.density = self.facts_per_row * counted / seq_len
        self._seq_len = seq_len
        self._asked = self._order()[:max_asked]

    def rows(self, words: Words) -> Rows:
        """Fill rows with facts, drawn with repetition as often as their frequencies say."""
        words = words.reshape(-1, self._drawn)
        wording = np.zeros(len(words), dtype=np.int64)
        if self._drawn > 1:
            wording = below(words[:, 1], self._source.num_trained_wordings)
        facts = self._worded(self.frequencies.draw(words[:, 0]), wording)
        return self._lay(facts, alone=not self._source.packed_context)

    def expected_counts(self, num_rows: int) -> NDArray[np.float64]:
        """Return how often each fact is expected in so many training rows, [num_facts]."""
        return num_rows * self.facts_per_row * self.frequencies.probability

    def evaluation(self) -> Rows:
        """Ask facts of the world, each once, and then once more in a wording held out."""
        return self._lay(self._worded(*self._questions()), alone=True)

    def parts(self) -> Mapping[str, Mask]:
        """Tell questions in trained wordings from those held out, and the former by frequency."""
        facts, wording = self._questions()
        trained = wording < self._source.num_trained_wordings
        bucket = self.frequencies.bucket(len(BUCKETS))[facts]
        parts = {
            MAIN: trained,
            "held_out": ~trained,
            **{name: trained & (bucket == index) for index, name in enumerate(BUCKETS)},
        }
        marks = {name: self._objects(parts[name]) for name in (MAIN, *self._source.parts)}
        marks[LOSS] = self._counted(trained)
        return {name: lay_marks(each, seq_len=self._seq_len) for name, each in marks.items()}

    def _lay(self, facts: Integers, *, alone: bool) -> Rows:
        counted = self._counted(np.ones(len(facts), dtype=np.bool_))
        return lay_rows(facts, counted, seq_len=self._seq_len, alone=alone)

    def _order(self) -> Integers:
        """Return all facts in the order of asking: random, but from each bucket in turn."""
        order = permutation(self._source.seed, "facts/asked", self._source.num_facts)
        if not self._source.skew:
            return order
        bucket = self.frequencies.bucket(len(BUCKETS))[order]
        place = np.empty_like(order)  # of each fact among those of its bucket
        for index in range(len(BUCKETS)):
            mine = bucket == index
            place[mine] = np.arange(mine.sum())
        return order[np.lexsort((bucket, place))]

    def _questions(self) -> tuple[Integers, Integers]:
        """Return fact and wording of every question, each [questions]."""
        source, asked = self._source, self._asked
        words = random_words(source.seed, "facts/wordings", 0, 2 * len(asked))
        trained = below(words[: len(asked)], source.num_trained_wordings)
        if not source.held_out_wordings:
            return asked, trained
        held_out = source.num_trained_wordings + below(
            words[len(asked) :], source.held_out_wordings
        )
        return np.concatenate([asked, asked]), np.concatenate([trained, held_out])

    def _worded(self, facts: Integers, wording: Integers) -> Integers:
        """Word facts, [facts] of both, as tokens, [facts, tokens_per_fact]."""
        place = self._wordings[wording]
        column = np.maximum(-1 - place, 0)
        return np.where(place < 0, np.take_along_axis(self.world[facts], column, axis=1), place)

    def _objects(self, facts: Mask) -> Mask:
        """Mark where the objects of facts, [facts], are predicted: [facts, tokens_per_fact]."""
        return self._mark(facts, first=self._source.tokens_per_fact - 2)

    def _counted(self, facts: Mask) -> Mask:
        """Mark where the tokens of some facts that the loss counts are predicted."""
        return self._objects(facts) if self._source.counted == "objects" else self._mark(facts, 0)

    def _mark(self, facts: Mask, first: int) -> Mask:
        """Mark, in each fact, the tokens from ``first`` to the last but one."""
        size = self._source.tokens_per_fact
        place = np.arange(size)
        return facts[:, None] & (place >= first) & (place < size - 1)

    def _hash(self) -> str:
        """Hash the facts, how they are worded, and how often each is seen."""
        digest = hashlib.sha256(self.world.astype("<i8").tobytes())
        if self._source.form != "triples":
            digest.update(self._wordings.astype("<i8").tobytes())
        if self._source.skew:
            digest.update(self.frequencies.probability.astype("<f8").tobytes())
        return digest.hexdigest()


def _wording_tokens(source: FactsSource) -> Integers:
    """Return wordings, [wordings, tokens_per_fact]: a token, or -1 - column of the world."""
    return np.array(
        [
            [
                token
                for word in wording.split()
                for token in ([WORDS[word]] if word in WORDS else [-1 - s for s in _SLOTS[word]])
            ]
            for wording in source.all_wordings
        ]
    )


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


def _check_asked(source: FactsSource, max_asked: int) -> None:
    if source.skew and max_asked < len(BUCKETS):
        raise DataError(
            f"with skew, evaluation.facts >= {len(BUCKETS)} must hold, a fact for each of "
            f"{', '.join(BUCKETS)}, but evaluation.facts={max_asked}; raise it"
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
