"""What a model was measured to know, with intervals."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from archspec.report.meaning import meaning, source_of
from archspec.report.tables import plain_table
from archspec.spec.train import TrainSpec
from archspec.train.score import Score


def score_table(scores: Iterable[Score], train: TrainSpec) -> Table:
    """Return a row for each metric: value, 95% interval, what it is over, and what it means."""
    table = plain_table("measured", "value", "95% interval", "answers", "meaning")
    for column in table.columns[1:4]:
        column.justify = "right"
    for score in scores:
        table.add_row(
            score.name,
            f"{score.value:.4f}",
            _interval(score),
            f"{score.count:,}" if score.count else "",
            meaning(score.name, score.value, source_of(score.name, train.data)),
        )
    return table


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    return f"{score.low:.4f} to {score.high:.4f}"
