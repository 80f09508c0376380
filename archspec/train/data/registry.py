"""From what a train document says of a source to the source itself."""

from __future__ import annotations

from archspec.spec.data.facts import FactsSource
from archspec.spec.data.registry import Source
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.data.facts import Facts
from archspec.train.data.source import DataSource
from archspec.train.data.text import Text


def open_source(source: Source, train: TrainSpec, spec: ModelSpec) -> DataSource:
    """Open a source for a model. Raises DataError if it cannot be read or does not fit."""
    sizes = {"vocab_size": spec.vocab_size, "seq_len": train.seq_len}
    if isinstance(source, FactsSource):
        return Facts(source, max_asked=train.evaluation.facts, **sizes)
    return Text(source, max_tokens=train.evaluation.text_tokens, **sizes)
