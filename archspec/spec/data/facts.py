"""Facts to be memorised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from archspec.blocks.base import Fault
from archspec.schema import Count, NonNegativeFloat, PositiveInt
from archspec.spec.data.base import TaskConfig

# How a fact may be worded: S is a subject (two tokens), R a relation and O its object, which stands
# last so that it can be asked for. All are equally long, so that a row holds as many facts whatever
# their wording. The first two use every word, so a later one is new in its order and never in its
# words.
WORDINGS = (
    "the R of S is O",
    "what R has S ? O",
    "the R S has is O",
    "the R of S ? O",
    "of S the R is O",
    "S has what R ? O",
    "R of S is the O",
    "of S what R ? O",
)
FULL_VOCABULARY = 2  # wordings that hold every word
TRIPLE = "S R O"
BUCKETS = ("rare", "medium", "common")  # thirds of the facts, by how often they are seen


class FactsSource(TaskConfig):
    """A world of subjects whose relations each have one object, to be memorised."""

    task: Literal["facts"]
    num_facts: Annotated[PositiveInt, Field(description="Triples in the world.")] = 4096
    num_relations: Annotated[
        PositiveInt,
        Field(description="Relations; every subject has an object for each of them."),
    ] = 8
    num_objects: Annotated[
        PositiveInt,
        Field(description="Possible objects; chance is one in so many."),
    ] = 256
    form: Annotated[
        Literal["triples", "sentences"],
        Field(
            description="`triples`: a fact is subject, relation, object, 4 tokens; `sentences`: it "
            "is worded as a statement or a question, 7 tokens."
        ),
    ] = "triples"
    wordings: Annotated[
        Annotated[int, Field(ge=1, le=len(WORDINGS))] | None,
        Field(
            description="Of sentences, how many wordings there are; statements and questions take "
            f"turns. null: all {len(WORDINGS)}."
        ),
    ] = None
    held_out_wordings: Annotated[
        Count,
        Field(
            description="Of these, how many are never trained on: facts seen in the others are "
            "asked in them, which gives `facts.accuracy.held_out`."
        ),
    ] = 0
    skew: Annotated[
        NonNegativeFloat,
        Field(
            description="Zipf exponent of how often facts are seen: the fact of rank r as often as "
            "r ** -skew says; 0: all alike. Above 0, each third of the facts has an accuracy of "
            "its own: `facts.accuracy.rare`, `.medium` and `.common`."
        ),
    ] = 0.0
    packed_context: Annotated[
        bool,
        Field(
            description="In training, let a fact attend to the facts before it in its row. "
            "Questions are always asked alone."
        ),
    ] = False
    counted: Annotated[
        Literal["objects", "all"],
        Field(
            description="Which tokens the loss counts: `objects`, or `all` after the first of a "
            "fact. Accuracy is always over objects."
        ),
    ] = "objects"
    seed: Annotated[Count, Field(description="Seed of the world, apart from the run's.")] = 0

    @property
    def all_wordings(self) -> tuple[str, ...]:
        """Every wording, those held out last."""
        if self.form == "triples":
            return (TRIPLE,)
        return WORDINGS[: self.wordings]

    @property
    def num_trained_wordings(self) -> int:
        """How many of them are trained on."""
        return len(self.all_wordings) - self.held_out_wordings

    @property
    def tokens_per_fact(self) -> int:
        """Tokens of one fact; a subject's name takes two."""
        return len(self.all_wordings[0].split()) + 1

    @property
    def parts(self) -> tuple[str, ...]:
        """Kinds of questions with metrics of their own."""
        held_out = ("held_out",) if self.held_out_wordings else ()
        return (*held_out, *(BUCKETS if self.skew else ()))

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured on this source, without the prefix."""
        measured = ("accuracy", "nll")
        return (*measured, *(f"{name}.{part}" for part in self.parts for name in measured))

    @property
    def num_choices(self) -> int:
        """See :class:`TaskConfig`."""
        return self.num_objects

    @property
    def asked(self) -> str:
        """See :class:`TaskConfig`."""
        return f"{self.num_facts:,} facts"

    def check(self, seq_len: int) -> Iterator[Fault]:
        """Yield every rule broken, with paths inside the source."""
        if seq_len < self.tokens_per_fact:
            yield Fault(
                (),
                f"a fact takes {self.tokens_per_fact} tokens, but seq_len={seq_len}; raise seq_len",
            )
        if self.form == "triples":
            yield from self._ignored()
        elif self.held_out_wordings and self.num_trained_wordings < FULL_VOCABULARY:
            yield Fault(
                ("held_out_wordings",),
                f"at least {FULL_VOCABULARY} wordings must be trained on, a statement and a "
                f"question, which use every word; but wordings={len(self.all_wordings)} and "
                f"held_out_wordings={self.held_out_wordings}; lower held_out_wordings or raise "
                "wordings",
            )
        if self.skew and self.num_facts < len(BUCKETS):
            yield Fault(
                ("skew",),
                f"with skew, num_facts >= {len(BUCKETS)} must hold, one for each of "
                f"{', '.join(BUCKETS)}, but num_facts={self.num_facts}; raise it or leave out skew",
            )

    def _ignored(self) -> Iterator[Fault]:
        for key, given in (
            ("wordings", self.wordings),
            ("held_out_wordings", self.held_out_wordings),
        ):
            if given:
                yield Fault(
                    (key,),
                    f"{key} needs form: sentences, but {key}={given} and form is triples; "
                    f"add form: sentences or leave out {key}",
                )
