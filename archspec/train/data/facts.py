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

from archspec.spec.data.facts import BUCKETS, FactsSource
from archspec.train.data.frequency import Frequencies
from archspec.train.data.source import LOSS, MAIN, DrawnSource, Mask, Rows
from archspec.train.data.stream import Integers, Words, below, permutation, random_words
from archspec.train.vocabulary import FIRST_ENTITY, PAD, WORDS, check_vocabulary

_SLOTS = {"S": (0, 1), "R": (2,), "O": (3,)}  # columns of the world


class Facts(DrawnSource):
    """The facts of one world; they depend on its document alone, not on the model.

    Attributes:
        world: [num_facts, 4], the tokens of every fact: subject (2), relation, object.
        frequencies: How often each fact is seen.

    Raises:
        DataError: The model has too few tokens.
    """

    def __init__(
        self, source: FactsSource, *, vocab_size: int, seq_len: int, max_asked: int
    ) -> None:
        _check_tokens(source, vocab_size)
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
        order = permutation(source.seed, "facts/asked", source.num_facts)
        self._asked = order[:max_asked]

    def rows(self, words: Words) -> Rows:
        """Fill rows with facts, drawn with repetition as often as their frequencies say."""
        words = words.reshape(len(words), self.facts_per_row, self._drawn)
        wording = np.zeros(words.shape[:2], dtype=np.int64)
        if self._drawn > 1:
            wording = below(words[..., 1], self._source.num_trained_wordings)
        facts = self._worded(self.frequencies.draw(words[..., 0]), wording)
        return self._pack(facts, alone=not self._source.packed_context)

    def expected_counts(self, num_rows: int) -> NDArray[np.float64]:
        """Return how often each fact is expected in so many training rows, [num_facts]."""
        return num_rows * self.facts_per_row * self.frequencies.probability

    def evaluation(self) -> Rows:
        """Ask facts of the world, each once, and then once more in a wording held out."""
        facts = self._worded(*self._questions())
        count = math.ceil(len(facts) / self.facts_per_row)
        size = self._source.tokens_per_fact
        padded = np.full((count * self.facts_per_row, size), PAD, dtype=np.int64)
        padded[: len(facts)] = facts
        return self._pack(padded.reshape(count, self.facts_per_row, size), alone=True)

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
        masks = {name: self._objects(parts[name]) for name in (MAIN, *self._source.parts)}
        return {**masks, LOSS: self._counted(trained)}

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
        """Word facts, [...] of both, as tokens, [..., tokens_per_fact]."""
        place = self._wordings[wording]
        column = np.maximum(-1 - place, 0)
        return np.where(place < 0, np.take_along_axis(self.world[facts], column, axis=-1), place)

    def _pack(self, facts: Integers, *, alone: bool) -> Rows:
        """Lay facts, [rows, facts, size], into rows; what does not fill a fact is padding."""
        count, _, size = facts.shape
        token_ids = np.full((count, self._seq_len + 1), PAD, dtype=np.int64)
        used = facts.shape[1] * size
        token_ids[:, :used] = facts.reshape(count, used)
        documents = np.tile(np.arange(self._seq_len) // size, (count, 1))
        counted = self._counted((facts[..., -1] != PAD).reshape(-1))
        if not alone:
            documents = np.zeros_like(documents)
        return Rows(token_ids[:, :-1], token_ids[:, 1:], counted, documents)

    def _objects(self, facts: Mask) -> Mask:
        """Mark where the objects of some facts, [facts] in order, are predicted."""
        return self._mark(facts, first=self._source.tokens_per_fact - 2)

    def _counted(self, facts: Mask) -> Mask:
        """Mark where the tokens of some facts that the loss counts are predicted."""
        return self._objects(facts) if self._source.counted == "objects" else self._mark(facts, 0)

    def _mark(self, facts: Mask, first: int) -> Mask:
        """Mark, in each fact, the positions from ``first`` to the last but one."""
        per_row, size = self.facts_per_row, self._source.tokens_per_fact
        count = math.ceil(len(facts) / per_row)
        marks = np.zeros((count * per_row, size), dtype=np.bool_)
        marks[: len(facts), first : size - 1] = facts[:, None]
        left = self._seq_len - per_row * size
        return np.pad(marks.reshape(count, per_row * size), ((0, 0), (0, left)))

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
