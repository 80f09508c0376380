"""The ``rungs`` section of a search document: many designs for few tokens, survivors for more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from archspec.errors import Path
from archspec.schema import PositiveInt, Schema
from archspec.spec.search.budgets import TokenCount
from archspec.spec.train import TrainSpec


class Rung(Schema):
    """One step of a search that trains fewer designs longer."""

    tokens: Annotated[
        TokenCount,
        Field(
            description="Tokens of every training of this rung, in place of the train document's; "
            "warm-up and decay keep their share of the run. A count, or text such as 60k."
        ),
    ]
    keep: Annotated[
        PositiveInt | None,
        Field(
            description="Best designs that go on to the next rung, where they are trained from the "
            "start; of the last rung those that are trained again with fresh seeds (default: "
            "finalists). The best `hand_finalists` hand designs go along."
        ),
    ] = None


def check_rungs(
    rungs: Sequence[Rung], train: TrainSpec | None, *, trials: int | None
) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the rungs, with paths below them.

    Args:
        rungs: The section.
        train: The train document, if it could be read.
        trials: Designs of the first rung, if that is known.
    """
    for index, (lower, higher) in enumerate(pairwise(rungs)):
        if higher.tokens <= lower.tokens:
            yield (
                (index + 1, "tokens"),
                "each rung must train longer than the one before, but has "
                f"tokens={higher.tokens} after {lower.tokens}; raise it",
            )
        if lower.keep is None:
            yield (index, "keep"), "every rung but the last needs `keep`; say how many go on"
    kept = [(index, rung.keep) for index, rung in enumerate(rungs) if rung.keep is not None]
    before, source = trials, "trials"
    for index, keep in kept:
        if before is not None and keep > before:
            yield (
                (index, "keep"),
                f"no more can go on than there are, but keep={keep} and {source}={before}; "
                "lower it",
            )
        before, source = keep, f"rungs[{index}].keep"
    for index, rung in enumerate(rungs):
        if train is not None and rung.tokens < train.batch_tokens:
            yield (
                (index, "tokens"),
                f"a training is one step or more, but tokens={rung.tokens} and the train document "
                f"has batch_tokens={train.batch_tokens}; raise tokens",
            )
